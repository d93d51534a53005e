"""Planted defects of labelled pictures: each is found with file and id, and crashes nothing."""

import contextlib
import json
import shutil

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.pictures import read_record
from maskrt.eval.datasets.source import DataSource
from maskrt.runtime.errors import InputError
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import new_checkpoint
from maskrt.workflows import check_data

from ..conftest import NARROW, RECIPE

HW = (60, 80)
PIXELS = HW[0] * HW[1]
EXIF_6 = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def rectangle(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def objects():
    """Two in each of the pictures 1 to 3, ids 11 to 16."""
    places = [(10, 5, 20, 20), (40, 20, 30, 25)]
    return [
        {
            "id": 11 + 2 * (image - 1) + place,
            "image_id": image,
            "category_id": 3 + place,
            "bbox": [*xywh],
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
            "segmentation": [rectangle(*xywh)],
        }
        for image in (1, 2, 3)
        for place, xywh in enumerate(places)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set in which nothing is wrong."""
    root = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / split).mkdir()
        names = [f"{split}{number}.jpg" for number in (1, 2, 3)]
        for name in names:
            picture = rng.integers(0, 256, (*HW, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / name), picture)
        raw = {
            "images": [
                {"id": number, "file_name": name, "height": HW[0], "width": HW[1]}
                for number, name in enumerate(names, 1)
            ],
            "annotations": objects(),
            "categories": [{"id": 3, "name": "fig"}, {"id": 4, "name": "date"}],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(raw))
    return root


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


def plant(data, edit):
    """Spoil train's JSON, or a file beside it."""
    file = data / "annotations" / "instances_train.json"
    raw = json.loads(file.read_text())
    spoilt = edit(raw, data)
    file.write_text(spoilt if isinstance(spoilt, str) else json.dumps(raw))


def first(**values):
    return lambda raw, data: raw["annotations"][0].update(values)


def every(**values):
    return lambda raw, data: [row.update(values) for row in raw["annotations"]]


def image(**values):
    return lambda raw, data: raw["images"][0].update(values)


def add(section, **values):
    return lambda raw, data: raw[section].append(values)


def without(section, key):
    return lambda raw, data: [raw[section][0].pop(key)]


def rle(counts, size=HW):
    return first(segmentation={"size": [*size], "counts": counts})


def picture(edit):
    return lambda raw, data: edit(data / "train" / "train1.jpg")


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-400])


def turn(path):
    jpeg = path.read_bytes()
    path.write_bytes(jpeg[:2] + EXIF_6 + jpeg[2:])


def other_size(path):
    cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))


def floats(raw, data):
    raw["images"][0]["file_name"] = "float.tiff"
    cv2.imwrite(str(data / "train" / "float.tiff"), np.ones((*HW, 3), np.float32))
    (data / "train" / "train1.jpg").unlink()


def corners(raw, data):
    for row in raw["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x + 30, y + 20, 80, 60] if w == 20 else [x, y, x + w, y + h]


def crowded(raw, data):
    spread = [(x % 70, x // 2) for x in range(101)]
    raw["annotations"] += [
        {
            "id": 100 + number,
            "image_id": 1,
            "category_id": 3,
            "bbox": [x, y, 5, 5],
            "segmentation": [rectangle(x, y, 5, 5)],
        }
        for number, (x, y) in enumerate(spread)
    ]


def text_ids(raw, data):
    for row in raw["annotations"]:
        row["id"] = str(row["id"])


def parent(raw, data):
    for row in raw["categories"]:
        row["supercategory"] = "fruit"
    raw["categories"].insert(0, {"id": 0, "name": "fruit", "supercategory": "none"})


def same_as(split):
    def edit(raw, data):
        shutil.copy(data / "train" / "train1.jpg", data / split / f"{split}2.jpg")

    return edit


def more_classes_in_val(raw, data):
    file = data / "annotations" / "instances_val.json"
    val = json.loads(file.read_text())
    val["categories"].append({"id": 9, "name": "plum"})
    file.write_text(json.dumps(val))


OBJECT, PICTURE, JSON = "annotation 11", "picture 1 (train1.jpg)", ""
NO_MASK = ("no mask", OBJECT)
REFUSED = ("annotation refused", OBJECT)
UNREADABLE = ("unreadable", JSON)
DEFECTS = {
    # pictures
    "missing": (picture(lambda path: path.unlink()), "picture missing", PICTURE),
    "cut off": (picture(cut_off), "picture unreadable", PICTURE),
    "no picture": (picture(lambda p: p.write_text("text")), "picture unreadable", PICTURE),
    "float TIFF": (floats, "picture unreadable", "picture 1 (float.tiff)"),
    "other size": (picture(other_size), "picture's size", PICTURE),
    "EXIF turn": (picture(turn), "picture's size", PICTURE),
    "sides swapped": (image(height=80, width=60), "picture's size", PICTURE),
    "2**30 pixels": (image(height=40_000, width=40_000), "picture refused", PICTURE),
    "no side": (image(height=0), "picture refused", PICTURE),
    "picture id twice": (image(id=2), "picture refused", "picture 2 (train2.jpg)"),
    "picture name twice": (
        image(file_name="train2.jpg"),
        *("picture refused", "picture 2 (train2.jpg)"),
    ),
    "no name": (without("images", "file_name"), "picture refused", "picture 1"),
    "a list as id": (image(id=[1]), "picture refused", "picture [1] (train1.jpg)"),
    "moved": (image(file_name="C:\\labels\\train1.jpg"), "moved picture", JSON),
    "not listed": (
        lambda raw, data: raw["images"].pop(),
        *("not listed", "train3.jpg"),
    ),
    "twice in a split": (same_as("train"), "picture twice", "picture 2 (train2.jpg)"),
    "in two splits": (same_as("val"), "picture in two splits", "picture 2 (val2.jpg)"),
    # boxes
    "null as box": (first(bbox=None), *REFUSED),
    "no number in a box": (first(bbox=[]), *REFUSED),
    "text in a box": (first(bbox=["10", "5", "20", "20"]), *REFUSED),
    "no box": (without("annotations", "bbox"), *REFUSED),
    "NaN in a box": (first(bbox=[float("nan"), 5, 20, 20]), *REFUSED),
    "two corners": (corners, "two corners", OBJECT),
    "box without an area": (first(bbox=[10, 5, 0, 20]), "no area", OBJECT),
    "box apart": (first(bbox=[50, 30, 20, 20]), "box apart", OBJECT),
    # masks
    "polygon to 2e8": (first(segmentation=[[10, 5, 2e8, 5, 30, 25]]), *REFUSED),
    "polygon of NaN": (first(segmentation=[[float("nan"), 5, 30, 5, 30, 25]]), *REFUSED),
    "no polygon": (first(segmentation=[]), *NO_MASK),
    "empty polygon": (first(segmentation=[[]]), *NO_MASK),
    "null as mask": (first(segmentation=None), *NO_MASK),
    "four numbers": (first(segmentation=[10, 5, 30, 25]), *REFUSED),
    "points": (first(segmentation=[[10, 5], [30, 5], [30, 25]]), *REFUSED),
    "list of points": (first(segmentation=[[[10, 5], [30, 5], [30, 25]]]), *REFUSED),
    "flat polygon": (
        first(segmentation=rectangle(10, 5, 20, 20)),
        *("flat segmentation", OBJECT),
    ),
    "polygon outside": (
        first(segmentation=[[-9, -9, -2, -9, -2, -2]], bbox=[-9, -9, 7, 7]),
        *("outside", OBJECT),
    ),
    "a line": (first(segmentation=[[10, 5, 20, 5, 30, 5]]), "no area", OBJECT),
    "less than a pixel": (
        first(segmentation=[[10.1, 5.1, 10.3, 5.1, 10.3, 5.2]], bbox=[10.1, 5.1, 0.2, 0.1]),
        *("no pixel", OBJECT),
    ),
    "whole picture": (
        first(segmentation=[rectangle(0, 0, 80, 60)], bbox=[0, 0, 80, 60]),
        *("whole picture", OBJECT),
    ),
    "endless outline": (first(segmentation=[[0, 0, 80, 60] * 9000]), *REFUSED),
    "RLE as w, h": (rle([PIXELS - 9, 9], HW[::-1]), *REFUSED),
    "short runs": (rle([970, 28]), *REFUSED),
    "long runs": (rle([0, 9999]), *REFUSED),
    "runs that overflow": (rle([2**63, 2**63, PIXELS]), *REFUSED),
    "no code": (rle("zzzzzz"), *REFUSED),
    # areas
    "area 0": (every(area=0), "area 0", JSON),
    "area null": (every(area=None), "area 0", JSON),
    "area of another mask": (first(area=40), "area", OBJECT),
    "area as text": (first(area="400"), *REFUSED),
    # ids and classes
    "ids as text": (text_ids, "id as text", "annotation 11"),
    "annotation id twice": (first(id=12), "annotation id twice", "annotation 12"),
    "an id of 70 bits": (first(image_id=2**70), *REFUSED),
    "no such picture": (first(image_id=99), *REFUSED),
    "no such category": (first(category_id=99), *REFUSED),
    "crowd 5": (first(iscrowd=5), *REFUSED),
    "object twice": (
        lambda raw, data: raw["annotations"].append({**raw["annotations"][0], "id": 77}),
        *("twice", "annotation 77"),
    ),
    "_background_": (
        add("categories", id=0, name="_background_"),
        *("no class", "category 0 (_background_)"),
    ),
    "background": (
        add("categories", id=0, name="background"),
        *("doubtful class", "category 0 (background)"),
    ),
    "above all": (parent, "no class", "category 0 (fruit)"),
    "class id twice": (
        add("categories", id=3, name="plum"),
        *("category refused", "category 3 (plum)"),
    ),
    "class twice": (add("categories", id=9, name="fig"), "category refused", "category 9 (fig)"),
    "other classes": (more_classes_in_val, "classes differ", JSON),
    # the whole
    "no annotations": (lambda raw, data: raw["annotations"].clear(), "no objects", JSON),
    "only crowds": (every(iscrowd=1), "only crowds", JSON),
    "more than slots": (crowded, "more than slots", PICTURE),
    "predictions": (lambda raw, data: json.dumps(raw["annotations"]), *UNREADABLE),
    "half a file": (lambda raw, data: json.dumps(raw)[:200], *UNREADABLE),
    "no pictures": (lambda raw, data: raw["images"].clear(), *UNREADABLE),
}


@pytest.mark.parametrize(("edit", "kind", "item"), DEFECTS.values(), ids=DEFECTS)
def test_a_planted_defect_is_found_with_file_and_id(data, edit, kind, item):
    plant(data, edit)
    found = check_data(data).problems
    mine = [problem for problem in found if problem.kind == kind]
    assert item in [problem.item for problem in mine], found
    assert all(problem.file.is_relative_to(data) for problem in mine)
    for split in ("train", "val"):  # crash nothing
        with contextlib.suppress(InputError):
            [read_record(one) for one in load_coco(data, split).images]
        with contextlib.suppress(InputError):
            instances = CocoInstances(DataSource(data, lenient=True), split)
            [instances[place].masks() for place in range(len(instances))]


def test_nothing_is_wrong_with_a_whole_set(whole):
    check = check_data(whole)
    assert (check.layout, check.problems) == ("COCO", ())
    assert not check.fails(lenient=False)
    classes, sizes, pictures = check.tables
    assert classes.rows == (("fig", "3", "3"), ("date", "3", "3"))
    # sides of 20 and 27.4 px in pictures scaled 13.3 times, sides of 267 and 365 px
    assert sizes.rows[3:] == (("256 px", "3", "3"), ("512 px", "3", "3"))
    assert pictures.rows[0] == ("train", "3", "0", "6", "2", "0")


def test_a_fault_takes_nothing_else_with_it(data):
    plant(data, image(height=0))
    plant(data, first(iscrowd=7))
    counts = check_data(data).counts
    assert counts == {"picture refused": 1}  # its objects are not told one by one


def test_a_clean_copy_has_what_is_good(data, tmp_path):
    for edit in (corners, text_ids, add("categories", id=0, name="_background_")):
        plant(data, edit)
    plant(data, lambda raw, data: raw["annotations"].append({**raw["annotations"][2], "id": 9}))
    plant(data, picture(cut_off))
    check = check_data(data, fix=True)
    (path,) = check.written
    assert path == data / "annotations" / "instances_train.clean.json"
    raw = json.loads(path.read_text())
    assert [row["id"] for row in raw["images"]] == [2, 3]
    assert [row["bbox"] for row in raw["annotations"]] == [row["bbox"] for row in objects()[2:]]
    assert [row["name"] for row in raw["categories"]] == ["fig", "date"]
    again = check_data(DataSource(data / "train", path))
    assert not again.fails(lenient=False), again.problems
    assert check_data(data).counts == check.counts  # the copy is no part of the layout


def test_the_command_lists_problems_and_ends_as_a_run_would(maskrt, data):
    plant(data, corners)
    ran = maskrt("data", "check", data, "--json")
    assert ran.code == 2
    assert ran.json["counts"] == {"two corners": 6}
    assert ran.json["problems"][0]["item"] == "annotation 11"
    assert ran.out.startswith(f"{data}: COCO layout\n")
    assert "instances_train.json: annotation 11: its box reaches beyond" in ran.out
    assert maskrt("data", "check", "--data", data, "--lenient").code == 0
    ran = maskrt("data", "check", data, "--recipe", "fastmask_tiny", "--data", data)
    assert (ran.code, "expected one folder. Leave one away." in ran.err) == (2, True)
    assert maskrt("data", "check").code == 2
    assert maskrt("data", "check", data / "none").code == 2


def test_a_folder_in_no_layout_is_a_problem(maskrt, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    ran = maskrt("data", "check", tmp_path)
    assert (ran.code, "no known layout" in ran.out) == (2, True)


def test_train_and_eval_ask_the_same_before_they_begin(maskrt, data, tmp_path, caplog):
    plant(data, corners)
    checkpoint = tmp_path / "net.safetensors"
    new_checkpoint(load_recipe(RECIPE, [*NARROW, "classes=[fig,date]"]), checkpoint, None)
    measure = ("eval", checkpoint, "--data", data, "--split", "train")
    train = ("train", RECIPE, *NARROW, "--data", data, "--out", tmp_path / "run", "--workers", 0)
    for words in (measure, train):
        ran = maskrt(*words)
        assert ran.code == 2
        assert "6 of 6 boxes reach beyond their picture as x, y, width, height" in ran.err
    assert not (tmp_path / "run").exists()
    ran = maskrt(*measure, "--lenient")
    assert ran.code == 0, ran.err
    assert "6 of 6 boxes reach beyond their picture" in caplog.text


def test_a_page_shows_pictures_with_their_masks(maskrt, data, tmp_path):
    plant(data, corners)
    page = tmp_path / "page.html"
    assert maskrt("data", "show", data, "--out", page, "--json").json["pictures"] == 3
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 3
    assert "train1.jpg (1): 2 objects" in text
    assert "COCO layout, 3 train, 2 classes" in text
    assert ": 3 train pictures" in maskrt("data", "show", data, "--out", page).err


@pytest.mark.parametrize("layout", ["labelme", "YOLO"])
def test_other_layouts_are_checked_picture_by_picture(tmp_path, layout):
    rng = np.random.default_rng(0)
    points = [[10, 5], [30, 5], [30, 25]]
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (*HW, 3), dtype=np.uint8))
        if layout == "labelme":
            shapes = [{"label": "fig", "points": points if name != "b" else points[:2]}]
            labels = {"shapes": shapes, "imagePath": f"{name}.png"}
            (tmp_path / f"{name}.json").write_text(json.dumps(labels))
        else:
            line = "0 0.1 0.1 0.4 0.1 0.4 0.5" if name != "b" else "7 0.1 0.1 0.4 0.1 0.4 0.5"
            (tmp_path / f"{name}.txt").write_text(line)
    if layout == "YOLO":
        (tmp_path / "data.yaml").write_text("train: .\nnames: [fig]\n")
    (tmp_path / "c.png").write_bytes(b"no picture")
    check = check_data(tmp_path, fix=True)
    assert check.layout == layout
    refused = [problem for problem in check.problems if problem.severity == "error"]
    assert len(refused) == 2, check.problems
    assert sum(any(f"/{name}" in str(p) for name in ("b.json", "b.txt")) for p in refused) == 1
    copies = [json.loads(path.read_text()) for path in check.written]
    assert [row["file_name"] for copy in copies for row in copy["images"]] == ["a.png"]
    assert check_data(tmp_path).layout == layout
