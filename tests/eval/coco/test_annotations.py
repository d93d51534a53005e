"""The one reader: what it gives, what it forgives, and what it refuses with a sentence."""

import json
import logging
import time

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.annotations import Annotation, read_split
from maskrt.eval.coco.categories import Category
from maskrt.eval.coco.pictures import read_record
from maskrt.eval.datasets.source import DataSource
from maskrt.runtime.errors import InputError


def annotations(folder):
    return folder / "annotations" / "instances_val.json"


def change(folder, edit):
    raw = json.loads(annotations(folder).read_text())
    edit(raw)
    annotations(folder).write_text(json.dumps(raw))


def first(**values):
    """An edit of annotations[0]: a square of 20 pixels in a picture of 200 x 240 (h x w)."""
    return lambda raw: raw["annotations"][0].update(values)


def test_records_are_those_of_the_file_in_order_of_id(folder):
    change(folder, lambda raw: raw["images"].reverse())
    found = read_split(folder, "val")
    assert [image.image_id for image in found.images] == [11, 12, 13]
    assert (found.images[0].path, found.images[0].image_hw) == (folder / "val/11.png", (200, 240))
    assert found.categories == (Category(3, "square"), Category(7, "disc & <ring>"))
    assert len(found.annotations) == 5
    polygon = [[10, 10, 30, 10, 30, 30, 10, 30]]
    assert found.annotations[0] == Annotation(
        11, 7, (10, 10, 20, 20), polygon, iscrowd=False, area=400
    )


def test_what_other_tools_leave_out_is_forgiven(folder):
    whole = read_split(folder, "val").annotations
    keys = ("id", "area", "iscrowd")
    change(folder, lambda raw: [a.pop(key) for a in raw["annotations"] for key in keys])
    assert read_split(folder, "val").annotations == whole
    change(folder, lambda raw: raw.pop("annotations"))
    assert read_split(folder, "val").annotations == ()


@pytest.mark.parametrize("name", ["val2017", "val2014"])
def test_cocos_own_layouts_are_read_too(folder, name):
    annotations(folder).rename(folder / "annotations" / f"instances_{name}.json")
    (folder / "val").rename(folder / name)
    assert read_split(folder, "val").images[0].path == folder / name / "11.png"


def test_missing_folders_and_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; .*data shapes"):
        read_split(tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"a{5000}: no such folder"):
        read_split(tmp_path / ("a" * 5000), "val")
    with pytest.raises(InputError, match=r"no 'train' split; found COCO layout with val"):
        read_split(folder, "train")
    (folder / "val").rename(folder / "train")  # the pictures of another split are not looked at
    with pytest.raises(InputError, match=r"val: no such folder; instances_val\.json lists"):
        read_split(folder, "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"unreadable as COCO annotations \(Expecting property name"),
        ("[" * 100_000, "nested hundreds deep"),
        ('{"images": ' + "9" * 5000 + "}", "unreadable as COCO annotations"),
        ("3", "unreadable as COCO annotations .the JSON is no object"),
        ('[{"image_id": 11}]', "how predictions are written.*area and iscrowd may be absent"),
        ('{"images": 3}', "unreadable as COCO annotations .'images' is no list"),
        ("{}", "0 images and 0 categories; expected some of each"),
    ],
    ids=["cut off", "deep", "digits", "a number", "predictions", "no list", "empty object"],
)
def test_broken_json_is_refused(folder, text, message):
    annotations(folder).write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(folder, "val")


IMPOSSIBLE = {
    "no height": (lambda raw: raw["images"][1].pop("height"), r"images\[1\] has no height"),
    "no object": (lambda raw: raw["images"].append(7), r"images\[3\] has no id"),
    "no picture": (lambda raw: raw.update(images=[]), "0 images and 2 categories"),
    "empty height": (lambda raw: raw["images"][0].update(height=""), r"images\[0\]\.height is ''"),
    "infinite": (
        lambda raw: raw["images"][0].update(height=float("inf")),
        r"images\[0\]\.height is inf; expected a whole number from 1 to 1048576",
    ),
    "too large": (
        lambda raw: raw["images"][0].update(height=2**20, width=2**20),
        r"height and width make 1099511627776 pixels; expected at most 1073741824",
    ),
    "text id": (lambda raw: raw["images"][0].update(id="x11"), r"images\[0\]\.id is 'x11'"),
    "shared id": (
        lambda raw: raw["images"][2].update(id=11),
        r"images\[2\]\.id 11 is given to 11\.png and to 13\.png",
    ),
    "shared file": (
        lambda raw: raw["images"][2].update(file_name="./11.png"),
        r"images\[2\]\.file_name is that of images\[0\] too",
    ),
    "number as name": (lambda raw: raw["images"][0].update(file_name=-1), "file_name is -1"),
    "half a character": (
        lambda raw: raw["categories"][0].update(name="\ud800"),
        r"categories\[0\]\.name is '.ud800'",
    ),
    "shared name": (
        lambda raw: raw["categories"][0].update(name="square"),
        r"categories\[1\]\.name is 'square'; expected names that tell",
    ),
    "shared category": (lambda raw: raw["categories"][0].update(id=3), r"categories\[1\]\.id is 3"),
    "no category": (first(category_id=9), r"annotations\[0\]\.category_id is 9; expected an id"),
    "list as category": (first(category_id=[7]), r"annotations\[0\]\.category_id is \[7\]"),
    "orphan": (first(image_id=99), r"annotations\[0\]\.image_id is 99; expected the id of a pict"),
    "no box": (lambda raw: raw["annotations"][2].pop("bbox"), r"annotations\[2\] has no bbox"),
    "null box": (first(bbox=None), r"annotations\[0\]\.bbox is null; expected four numbers"),
    "two corners": (first(bbox=[1, 2]), r"annotations\[0\]\.bbox is \[1, 2\]; expected four"),
    "text box": (first(bbox=["1", "2", "3", "4"]), r"bbox is \['1', '2', '3', '4'\]"),
    "NaN box": (first(bbox=[1, float("nan"), 3, 4]), r"bbox is \[1, nan, 3, 4\]; expected pixels"),
    "negative box": (first(bbox=[10, 10, -5, 5]), "width and height of 0 or more"),
    "far box": (first(bbox=[10, 10, 1e9, 5]), r"pixels from -240 to 480"),
    "text area": (first(area="x"), r"annotations\[0\]\.area is 'x'; expected a number"),
    "NaN area": (first(area=float("nan")), r"area is nan; expected a number from 0 to"),
    "crowd no": (first(iscrowd="no"), r"annotations\[0\]\.iscrowd is 'no'; expected 0 or 1"),
    "text annotation id": (first(id="a"), r"annotations\[0\]\.id is 'a'; expected a whole number"),
}


@pytest.mark.parametrize(("edit", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_values_are_named_by_section_index_and_field(folder, edit, message):
    change(folder, edit)
    with pytest.raises(InputError, match=message):
        read_split(folder, "val")


@pytest.mark.parametrize(
    "edit",
    [first(iscrowd=False), first(iscrowd=None), first(id=11.0), first(image_id=11.0)],
    ids=["boolean", "null", "id of a float", "image id of a float"],
)
def test_other_spellings_of_a_value_are_the_same_value(folder, edit):
    before = read_split(folder, "val")
    change(folder, edit)
    assert read_split(folder, "val") == before


@pytest.mark.parametrize("area", [0, None])
def test_an_absent_area_is_counted_from_the_mask(folder, area):
    change(folder, first(area=area))
    assert read_split(folder, "val").annotations[0].area == 400


@pytest.mark.parametrize("segmentation", [None, [], [[]]])
def test_objects_without_a_mask_are_left_out_and_counted(folder, caplog, segmentation):
    change(folder, first(segmentation=segmentation))
    with caplog.at_level(logging.WARNING):
        assert len(read_split(folder, "val").annotations) == 4
    assert "1 of 5 objects have no mask: left out." in caplog.text
    change(folder, lambda raw: [a.pop("segmentation", 0) for a in raw["annotations"]])
    with pytest.raises(InputError, match="none of the 5 annotations has a mask"):
        read_split(folder, "val")


def test_boxes_that_look_like_corners_are_refused_or_told(folder, caplog):
    read_split(folder, "val")
    assert caplog.text == ""

    change(
        folder, lambda raw: [a.update(bbox=[150, 100, 230, 180]) for a in raw["annotations"][:3]]
    )
    with pytest.raises(InputError, match=r"3 of 5 boxes reach beyond .*in picture 11; .*--lenient"):
        read_split(folder, "val")
    read_split(DataSource(folder, lenient=True), "val")
    assert "3 of 5 boxes reach beyond their picture" in caplog.text


def test_what_is_rare_is_told(folder, caplog):
    """As in COCO's own files: fewer than one in a hundred."""

    def many(raw):
        one = raw["annotations"][0]
        raw["annotations"] += [
            {**one, "area": area, "bbox": [10, 10, 20, 20 + area / 1000]} for area in range(1, 200)
        ]
        raw["annotations"].append({**one, "bbox": [10, 10, 0, 20]})

    change(folder, many)
    assert len(read_split(folder, "val").annotations) == 205
    assert "1 of 205 objects have a box or a mask without an area" in caplog.text


def test_a_class_for_the_background_is_told(folder, caplog):
    change(folder, lambda raw: raw["categories"].append({"id": 0, "name": "background"}))
    assert len(read_split(folder, "val").categories) == 3
    assert "category 'background' has no object and becomes a class" in caplog.text


@pytest.mark.parametrize(
    ("name", "why"), [("_background_", "the background"), ("shapes", "above all others")]
)
def test_what_is_no_class_is_left_out_and_told(folder, caplog, name, why):
    """labelme lists a background, Roboflow the project's name above all."""

    def add(raw):
        for category in raw["categories"]:
            category["supercategory"] = "shapes"
        raw["categories"].append({"id": 0, "name": name, "supercategory": "none"})

    before = read_split(folder, "val")
    change(folder, add)
    assert read_split(folder, "val") == before
    assert f"category {name!r} has no object and is {why}: left out." in caplog.text
    change(folder, first(category_id=0))  # with an object it is a class
    assert len(read_split(folder, "val").categories) == 3


def test_many_rows_are_read_in_no_time(folder):
    """A quadratic check would take minutes."""
    more = [{"id": i, "name": str(i)} for i in range(100, 30_000)]
    change(folder, lambda raw: raw["categories"].extend(more))
    start = time.process_time()
    assert len(read_split(folder, "val").categories) == len(more) + 2
    assert time.process_time() - start < 5


def test_a_picture_of_another_size_than_annotated_is_refused(folder):
    record = read_split(folder, "val").images[0]
    assert read_record(record).shape == (200, 240, 3)
    cv2.imwrite(str(record.path), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(InputError, match=r"11\.png: 10x20 pixels; the annotations say 200x240"):
        read_record(record)
