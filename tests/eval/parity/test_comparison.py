import dataclasses

import numpy as np
import pytest

from maskrt.eval.parity.comparison import SCORE_FLOOR, compare
from maskrt.eval.parity.gates import check_gates
from maskrt.runtime.errors import InputError

# moves no pixel of the drawn masks and is what float32 rounding looks like
TINY_PX = 1e-3


@pytest.fixture
def crowd():
    """60 rectangles over three pictures on a grid, scores 0.95 falling to 0.36."""
    return [
        (11 + i % 3, i % 2, 30 * (i // 3 % 7) + 1, 60 * (i // 21) + 1, 24, 40, 0.95 - 0.01 * i)
        for i in range(60)
    ]


def with_ap(reference, candidate):
    """Compared as if both had the same AP; test_gates measures it."""
    values = {kind: {"AP": 50.0} for kind in ("box", "mask")}
    return compare(reference, candidate, reference_values=values, candidate_values=values)


def test_a_set_matches_itself_wholly(predict, crowd):
    parity = with_ap(predict(crowd), predict(crowd))
    assert parity.matched == 1.0
    assert (parity.pairs, parity.reference_counted, parity.candidate_counted) == (60, 60, 60)
    assert parity.box_delta_max_px == 0.0
    assert parity.score_delta_max == 0.0
    assert parity.mask_iou_mean == 1.0
    assert (parity.box_changes, parity.mask_changes) == ({"AP": 0.0}, {"AP": 0.0})
    assert check_gates(parity, "fp32") == []
    assert check_gates(parity, "fp16") == []


def test_rounding_noise_is_measured_and_passes(predict, crowd):
    noisy = [(i, c, x + TINY_PX, y, w, h, s - 1e-4) for i, c, x, y, w, h, s in crowd]
    parity = with_ap(predict(crowd), predict(noisy))
    assert parity.box_delta_max_px == pytest.approx(TINY_PX, rel=0.02)  # float32 near 200
    assert parity.box_delta_mean_px == pytest.approx(TINY_PX / 2, rel=0.02)  # x edges of four
    assert parity.score_delta_max == pytest.approx(1e-4, rel=0.01)
    assert check_gates(parity, "fp32") == []


def test_boxes_moved_by_pixels_fail_the_fp32_gate(predict, crowd):
    moved = [(i, c, x + 3, y, w, h, s) for i, c, x, y, w, h, s in crowd]  # IoU 21 / 27 = 0.78
    parity = with_ap(predict(crowd), predict(moved))
    assert parity.matched == 0.0
    assert parity.pairs == 60
    assert parity.box_delta_max_px == pytest.approx(3.0)
    failures = check_gates(parity, "fp32")
    assert failures == ["0.00 % of instances matched at IoU 0.95; fp32 needs 99.5 %."]
    assert parity.lost_classes == ()  # each still has its pair


def test_changed_masks_alone_fail_the_fp32_gate(predict, crowd):
    reference = predict(crowd)
    candidate = [
        dataclasses.replace(c, rles=tuple(m.rles[0] for _ in c.rles))
        for c, m in zip(predict(crowd), reference, strict=True)
    ]
    parity = with_ap(reference, candidate)
    assert parity.matched == pytest.approx(1 / 20)
    assert check_gates(parity, "fp32")


def test_another_label_is_no_match(predict, crowd):
    other = [(i, 1 - c, x, y, w, h, s) for i, c, x, y, w, h, s in crowd]
    parity = compare(predict(crowd), predict(other), class_names=("square", "disc"))
    assert (parity.pairs, parity.lost_classes) == (0, ("square", "disc"))


@pytest.mark.parametrize("lost_by", ["candidate", "reference"])
def test_a_lost_and_an_invented_instance_both_lower_the_share(predict, crowd, lost_by):
    whole, short = predict(crowd), predict(crowd[:-1])
    sides = (whole, short) if lost_by == "candidate" else (short, whole)
    assert compare(*sides).matched == pytest.approx(59 / 60)


def test_one_candidate_serves_one_reference_only(predict):
    twice = [(11, 0, 10, 10, 40, 40, 0.9), (11, 0, 10, 10, 40, 40, 0.8)]
    parity = compare(predict(twice), predict(twice[:1]))
    assert (parity.pairs, parity.reference_found, parity.reference_counted) == (1, 1, 2)


def test_instances_below_the_floor_do_not_count_but_may_be_partners(predict):
    reference = [(11, 0, 10, 10, 40, 40, SCORE_FLOOR + 1e-3), (11, 0, 80, 10, 40, 40, 0.05)]
    candidate = [(11, 0, 10, 10, 40, 40, SCORE_FLOOR - 1e-3)]
    parity = compare(predict(reference), predict(candidate))
    assert (parity.reference_counted, parity.reference_found) == (1, 1)
    assert (parity.candidate_counted, parity.candidate_found) == (0, 0)
    assert parity.matched == 1.0


def test_a_tie_for_the_last_slot_is_excused_only_where_both_sides_are_full(predict):
    head = [(11, 0, 10, 10, 40, 40, 0.9), (11, 0, 80, 10, 40, 40, 0.8)]
    left = predict([*head, (11, 0, 10, 100, 40, 40, 0.3)])
    right = predict([*head, (11, 0, 80, 100, 40, 40, 0.3)])
    full = compare(left, right, slots=3)
    assert (full.excused, full.matched) == (2, 1.0)
    assert compare(left, right, slots=4).matched == pytest.approx(2 / 3)
    assert compare(left, right).matched == pytest.approx(2 / 3)


def test_a_full_list_excuses_nothing_above_its_tail(predict):
    left = predict([(11, 0, 10, 10, 40, 40, 0.9), (11, 0, 80, 10, 40, 40, 0.3)])
    right = predict([(11, 0, 80, 100, 40, 40, 0.9), (11, 0, 80, 10, 40, 40, 0.3)])
    parity = compare(left, right, slots=2)
    assert (parity.excused, parity.matched) == (0, 0.5)


def test_empty_masks_agree_with_empty_masks(predict):
    empty = predict([(11, 0, 10, 10, 40, 40, 0.9)])
    hollow = predict([(11, 0, 10, 10, 0, 0, 0.9)])[0].rles
    empty[0] = dataclasses.replace(empty[0], rles=hollow)
    assert compare(empty, empty).matched == 1.0
    assert compare(empty, predict([(11, 0, 10, 10, 40, 40, 0.9)])).matched == 0.0


@pytest.fixture
def proposals(predict):
    """200 near duplicates per picture: two sizes at places 1 px apart, scores falling."""
    rows = [
        (11 + i % 3, 0, 40 + i // 3 % 10, 40 + i // 30 % 10, 40 + i // 300, 40, 0.95 - 0.001 * i)
        for i in range(600)
    ]
    return predict(rows, windows=True)


def test_near_duplicates_match_themselves_by_window(proposals):
    ar = {kind: {"AR@10": 1.0, "AR@100": 2.0, "AR@1000": 3.0} for kind in ("box", "mask")}
    parity = compare(
        proposals, proposals, slots=200, metric="AR", reference_values=ar, candidate_values=ar
    )
    assert (parity.pairs, parity.reference_counted, parity.excused) == (600, 600, 0)
    assert parity.matched == 1.0
    assert parity.mask_iou_mean == 1.0
    assert parity.box_changes == {"AR@10": 0.0, "AR@100": 0.0, "AR@1000": 0.0}
    assert check_gates(parity, "fp32") == []


def test_a_lost_proposal_is_not_replaced_by_its_duplicate(predict):
    rows = [(11, 0, 40 + i % 10, 40 + i // 10, 40, 40, 0.9 - 0.01 * i) for i in range(50)]
    whole, short = predict(rows, windows=True), predict(rows[1:], windows=True)
    parity = compare(whole, short, metric="AR")
    assert (parity.pairs, parity.reference_found) == (49, 49)
    assert parity.matched == pytest.approx(49 / 50)


def test_rounded_windows_are_the_same_and_shifted_ones_are_not(proposals):
    def moved(share):
        frames = [p.frames + share * (p.frames[:, 2:3] - p.frames[:, :1]) for p in proposals]
        frames = [frame.astype(np.float32) for frame in frames]
        return [dataclasses.replace(p, frames=f) for p, f in zip(proposals, frames, strict=True)]

    assert compare(proposals, moved(0.001), metric="AR").pairs == 600
    assert compare(proposals, moved(10.0), metric="AR").pairs == 0


def test_a_mask_that_changed_within_its_window_is_a_pair_that_does_not_agree(predict):
    reference = predict([(11, 0, 40, 40, 40, 40, 0.9)], windows=True)
    changed = predict([(11, 0, 40, 40, 20, 40, 0.9)], windows=True)
    changed[0] = dataclasses.replace(changed[0], frames=reference[0].frames)
    parity = compare(reference, changed, metric="AR")
    assert (parity.pairs, parity.matched, parity.mask_iou_mean) == (1, 0.0, 0.5)
    assert parity.box_delta_max_px == 20.0


def test_the_tail_of_proposals_is_excused_though_empty_masks_left_the_list(predict):
    head = [(11, 0, 10, 10, 40, 40, 0.9), (11, 0, 80, 10, 40, 40, 0.8)]
    left = predict([*head, (11, 0, 10, 100, 40, 40, 0.3)], windows=True)
    right = predict([*head, (11, 0, 80, 100, 40, 40, 0.3)], windows=True)
    parity = compare(left, right, slots=100, metric="AR")
    assert (parity.excused, parity.matched) == (2, 1.0)


def test_no_proposals_on_one_side_are_no_pairs(predict):
    some = predict([(11, 0, 40, 40, 40, 40, 0.9)], windows=True)
    none = predict([], windows=True)
    assert compare(some, none, metric="AR").pairs == 0
    assert compare(none, some, metric="AR").matched == 0.0


def test_predictions_of_other_pictures_are_refused(predict):
    with pytest.raises(InputError, match="not of the same pictures"):
        compare(predict([]), predict([], image_ids=(11, 12)))


def test_numbers_that_cannot_be_are_counted(predict):
    rows = [(11, 0, 10, 10, 40, 40, score) for score in (5.0, 0.9, -3.0)]
    (first, *rest) = predict(rows, windows=True)
    assert compare([first, *rest], predict(rows[1:2])).invalid == 2
    boxes, frames = first.boxes.copy(), first.frames.copy()
    boxes[1, 2], frames[1, 0] = float("nan"), float("inf")
    for wrong in ({"boxes": boxes}, {"frames": frames}):
        broken = [dataclasses.replace(first, **wrong), *rest]
        assert compare(predict(rows[1:2]), broken).invalid == 3
