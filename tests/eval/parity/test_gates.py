"""Each gate alone, and the holes of the gates: artefacts that are broken pass none of them."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask

from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.predictions import Prediction
from maskrt.eval.parity.comparison import compare
from maskrt.eval.parity.gates import check_gates, make_hop, undecided_changes
from maskrt.eval.parity.intervals import change_intervals
from maskrt.eval.report.plain import to_json

PRECISIONS = ("fp32", "fp16", "int8", "fp8")


@pytest.fixture
def passing(predict):
    """A parity of nine equal instances, AP measured on both."""
    found = predict([(11, 0, 10 + 24 * i, 10, 20, 20, 0.9) for i in range(9)])
    values = {kind: {"AP": 50.0} for kind in ("box", "mask")}
    return compare(found, found, reference_values=values, candidate_values=values)


@pytest.mark.parametrize("name", ["AR@10", "AR@100", "AR@1000"])
@pytest.mark.parametrize(("precision", "change"), [("fp32", 0.11), ("fp16", -0.31)])
def test_each_average_recall_has_its_gate(passing, name, precision, change):
    zero = {"AR@10": 0.0, "AR@100": 0.0, "AR@1000": 0.0}
    passing = dataclasses.replace(passing, metric="AR", box_changes=zero, mask_changes=zero)
    assert check_gates(passing, precision) == []
    moved = dataclasses.replace(passing, mask_changes={**zero, name: change})
    assert check_gates(moved, precision)[0].startswith(f"mask {name} changed by {change:+.2f}")


def test_recall_that_was_not_measured_has_not_passed(predict):
    proposals = predict([(11, 0, 10, 10, 20, 20, 0.9)], windows=True)
    failures = check_gates(compare(proposals, proposals, metric="AR"), "fp16")
    assert len(failures) == 6
    assert failures[0] == "box AR@10 was not measured on both; fp16 needs the change."


@pytest.mark.parametrize(
    ("precision", "change", "failed"),
    [
        ("fp32", {"box_changes": {"AP": -0.1}}, []),
        ("fp32", {"box_changes": {"AP": 0.11}}, ["box AP changed by +0.11"]),
        ("fp32", {"mask_changes": {"AP": -0.2}}, ["mask AP changed by -0.20"]),
        ("fp16", {"mask_changes": {"AP": -0.2}}, []),
        ("fp16", {"mask_changes": {"AP": -0.31}}, ["mask AP changed by -0.31"]),
        ("fp16", {"candidate_found": 6}, []),
        ("fp16", {"candidate_found": 5}, ["55.56 % of instances matched at IoU 0.95; fp16 needs"]),
        ("int8", {"reference_found": 5}, ["55.56 % of instances matched"]),
        ("fp8", {"box_changes": {"AP": 0.31}}, ["box AP changed by +0.31"]),
        ("fp32", {"candidate_found": 8}, ["88.89 % of instances matched"]),
        ("fp16", {"box_changes": {"AP": None}}, ["box AP was not measured"]),
        ("fp32", {"box_changes": {"AP": np.nan}}, ["box AP changed by +nan"]),
        ("fp16", {"reference_counted": 0, "candidate_counted": 0}, ["no instance scored 0.1"]),
        ("fp16", {"reference_counted": 0}, ["no instance of the reference counts"]),
        ("fp16", {"excused": 1}, ["5.3 % of instances were excused"]),
        ("int8", {"lost_classes": ("ring",)}, ["one side has 10 or more instances of ring"]),
        ("fp16", {"invalid": 2}, ["2 instances have a score outside 0 to 1"]),
        ("fp16", {"baseless": ("box AP",)}, ["box AP of the reference is 0, so a change"]),
    ],
)
def test_each_gate_fails_on_its_own(passing, precision, change, failed):
    failures = check_gates(dataclasses.replace(passing, **change), precision)
    assert len(failures) == len(failed)
    for failure, start in zip(failures, failed, strict=True):
        assert failure.startswith(start)


def test_a_hop_as_json_says_whether_it_passed(passing):
    values = to_json(make_hop("a.onnx", "b.onnx", "fp32", passing))
    assert values["passed"] is True
    assert values["parity"]["matched"] == 1.0


CLASSES, PICTURES, HW = 10, 12, (200, 240)


@pytest.fixture
def dataset(tmp_path):
    """120 objects of ten classes on 12 pictures, none of them its own mirror image."""
    rng = np.random.default_rng(3)
    annotations = []
    for number in range(CLASSES * PICTURES):
        image, place = divmod(number, CLASSES)
        x, y = 8 + 46 * (place % 5), 10 + 95 * (place // 5)
        w, h = (int(side) for side in rng.integers(24, 38, 2))
        annotations.append(
            {
                "id": number + 1,
                "image_id": image + 1,
                "category_id": (place + image) % CLASSES + 1,
                "bbox": [x, y, w, h],
                "area": w * h * 3 / 4,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h / 2, x, y + h]],
            }
        )
    images = [
        {"id": i + 1, "file_name": f"{i}.png", "height": HW[0], "width": HW[1]}
        for i in range(PICTURES)
    ]
    categories = [{"id": i + 1, "name": f"class {i}"} for i in range(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    for image in images:
        cv2.imwrite(str(tmp_path / "val" / image["file_name"]), np.zeros((*HW, 3), np.uint8))
    return load_coco(tmp_path)


@pytest.fixture
def network(dataset):
    """What a good network finds: nine of ten objects, a pixel off, and some false ones."""
    rng = np.random.default_rng(7)
    found = []
    for image_id in range(1, PICTURES + 1):
        rows = []
        for annotation in dataset.truth.loadAnns(dataset.truth.getAnnIds(imgIds=[image_id])):
            x, y, w, h = annotation["bbox"]
            box = np.array([x, y, x + w, y + h]) + rng.integers(-1, 2, 4)
            label = annotation["category_id"] - 1
            if rng.random() < 0.1:
                label = (label + 1) % CLASSES
            rows.append((box, 0.5 + 0.5 * rng.random(), label, dataset.truth.annToRLE(annotation)))
        rows.sort(key=lambda row: -row[1])
        boxes, scores, labels, rles = zip(*rows, strict=True)
        found.append(
            Prediction(
                image_id=image_id,
                image_hw=HW,
                boxes=np.array(boxes, np.float32),
                scores=np.array(scores, np.float32),
                labels=np.array(labels, np.int32),
                rles=rles,
            )
        )
    return found


def nudged(found):
    """As FP16 moves: scores in the fourth figure, boxes by a hundredth of a pixel."""
    rng = np.random.default_rng(1)
    return [
        dataclasses.replace(
            p,
            scores=np.sort(p.scores - rng.uniform(0, 1e-4, len(p)).astype(np.float32))[::-1],
            boxes=p.boxes + rng.normal(0, 0.01, p.boxes.shape).astype(np.float32),
        )
        for p in found
    ]


def garbage(found):
    """The same three boxes in every picture."""
    return [dataclasses.replace(p, **first(found[0], 3)) for p in found]


def first(prediction, count):
    names = ("boxes", "scores", "labels", "rles")
    return {name: getattr(prediction, name)[:count] for name in names}


def other_garbage(found):
    return [
        dataclasses.replace(p, boxes=p.boxes * 0 + np.array([0, 0, 200, 150], np.float32))
        for p in garbage(found)
    ]


def half_of_the_classes_swapped(found):
    swapped = np.array([1, 0, 3, 2, 5, 4, 6, 7, 8, 9], np.int32)
    return [dataclasses.replace(p, labels=swapped[p.labels]) for p in found]


def masks_mirrored(found):
    """Each within its box, left and right exchanged."""
    return [
        dataclasses.replace(
            p, rles=tuple(mirrored(r, b) for r, b in zip(p.rles, p.boxes, strict=True))
        )
        for p in found
    ]


def mirrored(rle, box):
    bitmap = mask.decode(rle)
    columns = np.flatnonzero(bitmap.any(axis=0))
    inside = slice(columns[0], columns[-1] + 1)
    bitmap[:, inside] = bitmap[:, inside][:, ::-1].copy()
    encoded = mask.encode(np.asfortranarray(bitmap))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def boxes_shifted(found):
    return [dataclasses.replace(p, boxes=p.boxes + np.float32(4.0)) for p in found]


def one_class_missing(found):
    return [
        dataclasses.replace(
            p,
            boxes=p.boxes[p.labels != 4],
            scores=p.scores[p.labels != 4],
            labels=p.labels[p.labels != 4],
            rles=tuple(r for r, label in zip(p.rles, p.labels, strict=True) if label != 4),
        )
        for p in found
    ]


def hop(dataset, reference, candidate, precision):
    before, after = coco_ap(dataset, reference), coco_ap(dataset, candidate)
    parity = compare(
        reference,
        candidate,
        slots=100,
        reference_values=before.average,
        candidate_values=after.average,
        intervals=change_intervals(before.matches, after.matches),
        class_names=dataset.class_names,
    )
    return make_hop("reference", "candidate", precision, parity)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_good_hop_passes(dataset, network, precision):
    good = hop(dataset, network, nudged(network), precision)
    assert good.failures == ()
    assert good.parity.matched == 1.0
    assert hop(dataset, network, network, precision).undecided == ()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "broken",
    [garbage, half_of_the_classes_swapped, masks_mirrored, boxes_shifted, one_class_missing],
)
def test_a_broken_artefact_passes_no_gate(dataset, network, broken, precision):
    assert hop(dataset, network, broken(network), precision).failures


@pytest.mark.parametrize("precision", PRECISIONS)
def test_garbage_is_no_reference(dataset, network, precision):
    """Two broken artefacts agree on AP 0."""
    for candidate in (other_garbage(network), garbage(network)):
        wrong = [dataclasses.replace(p, labels=p.labels * 0 + 9) for p in other_garbage(network)]
        failures = hop(dataset, wrong, candidate, precision).failures
        assert any("of the reference is 0" in failure for failure in failures)
    nothing = [dataclasses.replace(p, **first(p, 0)) for p in network]
    assert hop(dataset, garbage(network), nothing, precision).failures
    assert hop(dataset, nothing, nothing, precision).failures


def test_an_interval_wider_than_the_gate_says_how_many_pictures_would_decide(dataset, network):
    wobbly = hop(dataset, network, boxes_shifted(network), "fp16")
    low, high = wobbly.parity.box_intervals["AP"]
    assert low <= wobbly.parity.box_changes["AP"] <= high < 0
    half = (high - low) / 2
    (sentence,) = undecided_changes(wobbly.parity, "fp16")  # masks stayed: (0, 0)
    assert sentence.startswith(f"box AP is known to ±{half:.2f} points on 12 pictures, and fp16")
    needed = int(sentence.split("about ")[1].split(" ")[0].replace(",", ""))
    assert needed == pytest.approx(12 * (half / 0.3) ** 2, rel=0.1)
    assert wobbly.undecided == (sentence,)
    assert to_json(wobbly)["undecided"] == [sentence]
    assert to_json(wobbly)["parity"]["box_intervals"]["AP"] == [low, high]
