"""What moved most between two artefacts: by hand, and in the table."""

import dataclasses

import pytest

from maskrt.eval.parity.moved import most_moved, moved_table, pictures_of

NAMES = ("square", "disc & <ring>")


def test_what_moved_comes_first_and_is_counted_as_stated(predict):
    square, disc = (11, 0, 20, 20, 40, 40), (12, 1, 20, 30, 120, 110)
    reference = predict([(*square, 0.9), (*disc, 0.8), (12, 0, 150, 60, 25, 30, 0.3)])
    # a fifth aside, IoU 2/3; another score; gone; come
    candidate = predict([(11, 0, 28, 20, 40, 40, 0.9), (*disc, 0.65), (13, 1, 10, 10, 30, 30, 0.5)])
    moved = most_moved(reference, candidate, NAMES)
    assert [one.moved for one in moved] == pytest.approx([0.5, 0.3, 0.3, 0.15], abs=1e-6)
    come, *_, disc_pair = moved
    assert (come.image_id, come.reference_score, come.label) == (13, None, NAMES[1])
    assert (disc_pair.image_id, disc_pair.iou) == (12, 1.0)
    assert pictures_of(moved, 2)[0] == 13
    table = moved_table(moved, {11: "a.png", 12: "b.png", 13: "c.png"})
    assert table.rows[0] == ("c.png", NAMES[1], "0.500", "none", "0.500", "n/a")


def test_low_scores_are_not_listed(predict):
    low = (11, 0, 20, 20, 40, 40, 0.05)
    assert most_moved(predict([low]), predict([]), NAMES) == []


def test_without_masks_boxes_are_compared(predict):
    sides = [predict([(11, 0, x, 20, 40, 40, 0.9)]) for x in (20, 28)]
    sides = [[dataclasses.replace(one, rles=None) for one in side] for side in sides]
    (moved,) = most_moved(*sides, NAMES)
    assert moved.iou == pytest.approx(2 / 3)
