"""The one reader: what it gives, what it forgives, and what it refuses with a sentence."""

import json

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.annotations import Annotation, Category, read_record, read_split
from maskrt.runtime.errors import InputError


def annotations(folder):
    return folder / "annotations" / "instances_val.json"


def change(folder, edit):
    raw = json.loads(annotations(folder).read_text())
    edit(raw)
    annotations(folder).write_text(json.dumps(raw))


def test_records_are_those_of_the_file(folder):
    found = read_split(folder, "val")
    assert [image.image_id for image in found.images] == [11, 12, 13]
    assert (found.images[0].path, found.images[0].image_hw) == (folder / "val/11.png", (200, 240))
    assert found.categories == (Category(3, "square"), Category(7, "disc & <ring>"))
    assert len(found.annotations) == 5
    polygon = [[10, 10, 30, 10, 30, 30, 10, 30]]
    first = Annotation(0, 11, 7, (10, 10, 20, 20), polygon, iscrowd=False, area=400)
    assert found.annotations[0] == first


def test_what_other_tools_leave_out_is_forgiven(folder):
    keys = ("id", "area", "iscrowd", "segmentation")
    change(folder, lambda raw: [a.pop(key) for a in raw["annotations"] for key in keys])
    third = read_split(folder, "val").annotations[2]
    assert third == Annotation(2, 12, 7, (20, 30, 120, 110), None, iscrowd=False, area=None)
    change(folder, lambda raw: raw.pop("annotations"))
    assert read_split(folder, "val").annotations == ()


def test_coco_2017_layout_is_read_too(folder):
    annotations(folder).rename(folder / "annotations" / "instances_val2017.json")
    (folder / "val").rename(folder / "val2017")
    assert read_split(folder, "val").images[0].path == folder / "val2017" / "11.png"


def test_missing_folders_and_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; .*data shapes"):
        read_split(tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"no 'train' split .* annotations/instances_train\.json"):
        read_split(folder, "train")
    (folder / "val").rename(folder / "pictures")
    with pytest.raises(InputError, match=r"val: no such folder; instances_val\.json lists"):
        read_split(folder, "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"unreadable as COCO annotations \(JSONDecodeError"),
        ("[]", "unreadable as COCO annotations .the JSON is no object"),
        ('{"images": 3}', "unreadable as COCO annotations .'images' is no list"),
        ("{}", "0 images and 0 categories; expected some of each"),
    ],
    ids=["cut off", "a list", "a number", "empty object"],
)
def test_broken_json_is_refused(folder, text, message):
    annotations(folder).write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(folder, "val")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw["images"][1].pop("height"), r"images\[1\] has no height"),
        (lambda raw: raw["images"].append(7), r"images\[3\] has no id"),
        (lambda raw: raw["annotations"][2].pop("bbox"), r"annotations\[2\] has no bbox"),
        (lambda raw: raw["annotations"][2].update(bbox=[1, 2]), "unreadable .*ValueError"),
        (lambda raw: raw["annotations"][0].update(category_id=9), "annotation 0 has category 9"),
        (lambda raw: raw.update(images=[]), "0 images and 2 categories"),
    ],
    ids=["height", "no object", "box", "two corners", "category", "no picture"],
)
def test_rows_that_lack_or_point_nowhere_are_refused(folder, edit, message):
    change(folder, edit)
    with pytest.raises(InputError, match=message):
        read_split(folder, "val")


def test_a_picture_of_another_size_than_annotated_is_refused(folder):
    record = read_split(folder, "val").images[0]
    assert read_record(record).shape == (200, 240, 3)
    cv2.imwrite(str(record.path), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(InputError, match=r"11\.png: 10x20 pixels; the annotations say 200x240"):
        read_record(record)
