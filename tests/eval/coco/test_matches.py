"""AP and AR of resampled pictures against COCOeval, run on the resampled set itself."""

import contextlib
import io
import json
from functools import partial

import numpy as np
import pytest

from maskrt.eval.coco.ap import coco_ap, match_instances, precision_of
from maskrt.eval.coco.ar import coco_ar, match_proposals, recall_of
from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.matches import CategoryMatches, PrecisionMatches
from maskrt.eval.coco.predictions import coco_rows
from maskrt.eval.coco.results import evaluator_of
from maskrt.eval.parity.intervals import RESAMPLES, change_intervals

PICTURES, CLASSES = 12, 3


@pytest.fixture
def noisy(folder, predict):
    """Twelve pictures of three classes, crowds among them; found with misses and false ones."""
    rng = np.random.default_rng(5)
    annotations, rows = [], []
    for image in range(1, PICTURES + 1):
        for _ in range(int(rng.integers(0, 9))):
            x, y = rng.integers(0, 140, 2)
            w, h = rng.integers(8, 60, 2)
            label = int(rng.integers(CLASSES))
            annotations.append(annotation(len(annotations), image, label, x, y, w, h))
            annotations[-1]["iscrowd"] = int(rng.random() < 0.1)
            for _ in range(int(rng.integers(0, 4))):
                dx, dy = rng.integers(-6, 7, 2)
                rows.append((image, label, x + dx, y + dy, w, h, round(float(rng.random()), 2)))
    raw = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 200, "width": 240}
            for i in range(1, PICTURES + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": str(i)} for i in range(CLASSES)],
    }
    for i in range(1, PICTURES + 1):
        (folder / "val" / f"{i}.png").write_bytes((folder / "val" / "11.png").read_bytes())
    return raw, rows, folder


def annotation(number, image, label, x, y, w, h):
    x, y, w, h = (int(value) for value in (x, y, w, h))
    return {
        "id": number,
        "image_id": image,
        "category_id": label + 1,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }


def loaded(raw, folder):
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(raw))
    return load_coco(folder)


def drawn_again(raw, rows, counts):
    """The data set and the predictions with picture i standing counts[i] times in it."""
    images, annotations, found, number = [], [], [], 0
    for image, count in zip(raw["images"], counts, strict=True):
        for _ in range(count):
            number += 1
            images.append({**image, "id": number, "file_name": f"{number}.png"})
            mine = [a for a in raw["annotations"] if a["image_id"] == image["id"]]
            annotations += [{**a, "image_id": number} for a in mine]
            found += [(number, *row[1:]) for row in rows if row[0] == image["id"]]
    annotations = [{**a, "id": place} for place, a in enumerate(annotations)]
    return {**raw, "images": images, "annotations": annotations}, found, range(1, number + 1)


def test_each_picture_once_is_cocoevals_number(noisy, predict):
    raw, rows, folder = noisy
    data, once = loaded(raw, folder), np.ones((1, PICTURES))
    for windows in (False, True):
        found = predict(rows, image_ids=range(1, PICTURES + 1), windows=windows)
        result = coco_ar(data, found) if windows else coco_ap(data, found)
        for kind in ("box", "mask"):
            for name, (value,) in result.matches[kind].resampled(once).items():
                assert value == pytest.approx(result.average[kind][name], abs=1e-9)
                assert 0.0 < value < 100.0


def test_pictures_matched_in_parts_are_the_whole_to_the_last_digit(noisy, predict):
    """As COCOeval itself has them of all pictures at once, and as one call has them."""
    raw, rows, folder = noisy
    data, ids = loaded(raw, folder), range(1, PICTURES + 1)
    parts = [[i for i in ids if i % 3 == rest] for rest in (2, 0, 1)]
    for match, of, whole in (
        (match_instances, partial(precision_of, data), coco_ap),
        (match_proposals, recall_of, coco_ar),
    ):
        windows = whole is coco_ar
        tables = {"box": [], "mask": []}
        for part in parts:
            found = predict([r for r in rows if r[0] in part], image_ids=part, windows=windows)
            for kind, more in match(data, found).items():
                tables[kind] += more
        found = predict(rows, image_ids=ids, windows=windows)
        merged, once = of(ids, tables), whole(data, found)
        assert merged.average == once.average
        for kind in ("box", "mask"):
            assert 0 < max(once.average[kind].values()) < 100
            both = (_arrays(result.matches[kind]) for result in (merged, once))
            for one, other in zip(*both, strict=True):
                np.testing.assert_array_equal(one, other)
            if not windows:
                own = evaluator_of(data, coco_rows(found, data.category_ids), kind, list(ids))
                with contextlib.redirect_stdout(io.StringIO()):
                    own.evaluate(), own.accumulate(), own.summarize()
                own_stats = [100 * x if x >= 0 else -1 for x in own.stats[:6]]
                assert [*once.average[kind].values()] == own_stats


def _arrays(matches):
    if isinstance(matches, PrecisionMatches):
        return [a for c in matches.categories for a in (c.pictures, c.found, c.ignored, c.there)]
    return [*matches.found.values(), matches.there]


def test_resampled_pictures_are_the_set_in_which_they_stand_so_often(noisy, predict):
    raw, rows, folder = noisy
    ids = range(1, PICTURES + 1)
    data = loaded(raw, folder)
    precision = coco_ap(data, predict(rows, image_ids=ids))
    recall = coco_ar(data, predict(rows, image_ids=ids, windows=True))
    for seed in range(4):
        counts = np.random.default_rng(seed).multinomial(PICTURES, [1 / PICTURES] * PICTURES)
        again, found, again_ids = drawn_again(raw, rows, counts)
        resampled = loaded(again, folder)
        expected = [
            (precision, coco_ap(resampled, predict(found, image_ids=again_ids))),
            (recall, coco_ar(resampled, predict(found, image_ids=again_ids, windows=True))),
        ]
        for all_pictures, drawn in expected:
            for kind in ("box", "mask"):
                values = all_pictures.matches[kind].resampled(counts[None].astype(float))
                for name, (value,) in values.items():
                    assert value == pytest.approx(drawn.average[kind][name], abs=1e-9)


def test_pictures_without_an_object_have_no_precision_and_no_recall(noisy, predict):
    raw, rows, folder = noisy
    data = loaded({**raw, "annotations": []}, folder)
    found = predict(rows, image_ids=range(1, PICTURES + 1))
    nothing = np.ones((2, PICTURES))
    assert np.isnan(coco_ap(data, found).matches["box"].resampled(nothing)["AP"]).all()
    assert np.isnan(coco_ar(data, found).matches["mask"].resampled(nothing)["AR@10"]).all()
    matches = coco_ap(data, found).matches
    assert change_intervals(matches, matches)["box"] == {"AP": None}


def test_an_interval_covers_the_true_change_about_as_often_as_it_says():
    """Of two detectors that find 60 and 50 % of single objects with IoU 1: 10 points of AR."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        hits = rng.random((2, 40)) < np.array([[0.6], [0.5]])
        before, after = (single_objects(row) for row in hits)
        low, high = change_intervals({"box": before}, {"box": after})["box"]["AP"]
        covered += low <= -10.0 <= high
    assert covered >= 51  # 57 expected; 51 or fewer has probability 0.02


def single_objects(hits):
    """One object a picture and one detection where it is found: AP is the share, in steps of 1."""
    places = np.flatnonzero(hits)
    found = np.ones((1, len(places)), bool)
    category = CategoryMatches(places, found, ~found, np.ones(len(hits)))
    return PrecisionMatches(len(hits), (category,))


def test_equal_artefacts_have_no_width_and_few_pictures_no_interval(noisy, predict):
    raw, rows, folder = noisy
    data = loaded(raw, folder)
    matches = coco_ap(data, predict(rows, image_ids=range(1, PICTURES + 1))).matches
    assert change_intervals(matches, matches) == {k: {"AP": (0.0, 0.0)} for k in ("box", "mask")}
    few = coco_ap(data.first(9), predict(rows, image_ids=range(1, 10))).matches
    assert change_intervals(few, few)["box"] == {"AP": None}
    assert RESAMPLES >= 1000


def test_more_objects_than_cocos_limit_are_said(folder, predict):
    """196 perfect detections have AP 51.49, for COCO looks at the best 100 of a class."""
    places = [(11, 0, 3 + 16 * (i % 14), 3 + 14 * (i // 14), 12, 10) for i in range(196)]
    raw = json.loads((folder / "annotations" / "instances_val.json").read_text())
    raw["annotations"] = [
        {**annotation(i, *place[:2], *place[2:]), "category_id": 3}
        for i, place in enumerate(places)
    ]
    result = coco_ap(loaded(raw, folder), predict([(*place, 0.9) for place in places]))
    assert result.average["box"]["AP"] == pytest.approx(51.49, abs=0.01)
    assert result.crowded == 1
    raw["annotations"] = raw["annotations"][:100]
    fewer = coco_ap(loaded(raw, folder), predict([(*place, 0.9) for place in places[:100]]))
    assert (fewer.crowded, fewer.average["box"]["AP"]) == (0, pytest.approx(100.0))
