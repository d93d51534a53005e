"""labelme's shapes and turned pictures, as the masks that labelme shows."""

import base64
import json
import logging
import struct

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.eval import load_coco
from maskrt.eval.coco.annotations import read_split
from maskrt.eval.coco.pictures import read_record
from maskrt.eval.datasets.source import DataSource
from maskrt.runtime.errors import InputError

HW = (40, 60)
L_SHAPE = [[5, 5], [25, 5], [25, 9], [9, 9], [9, 30], [5, 30]]


def write(folder, shapes, size_hw=HW):
    """One picture with these shapes, its bytes those of a bright L in the dark."""
    picture = np.zeros((*HW, 3), np.uint8)
    cv2.fillPoly(picture, [np.array(L_SHAPE)], (255, 255, 255))
    if not (folder / "1.jpg").exists():
        cv2.imwrite(str(folder / "1.jpg"), picture)
    raw = {
        "shapes": [{"label": "a", **shape} for shape in shapes],
        "imagePath": "1.jpg",
        "imageHeight": size_hw[0],
        "imageWidth": size_hw[1],
    }
    (folder / "1.json").write_text(json.dumps(raw))
    return folder


def read(folder):
    return read_split(DataSource(folder, val_share=1), "val")


def bitmap(annotation, hw=HW):
    found = annotation.segmentation
    rle = found if isinstance(found, dict) else coco_mask.merge(coco_mask.frPyObjects(found, *hw))
    return coco_mask.decode(rle).astype(bool)


def test_every_shape_that_has_an_area_is_an_object(tmp_path, caplog):
    stamp = np.zeros((6, 4), np.uint8)
    stamp[2:, 1:] = 1
    text = base64.b64encode(cv2.imencode(".png", stamp)[1]).decode()
    shapes = [
        {"points": L_SHAPE},
        {"points": [[50, 30], [40, 20]], "shape_type": "rectangle"},
        {"points": [[30, 20], [30, 26]], "shape_type": "circle", "label": "b"},
        {"points": [[50, 4], [53, 9]], "shape_type": "mask", "mask": text},
        {"points": [[1, 1], [9, 9]], "shape_type": "line"},
        {"points": L_SHAPE, "label": "__ignore__"},
    ]
    found = read(write(tmp_path, shapes))
    assert [c.name for c in found.categories] == ["a", "b"]
    assert [a.category_id for a in found.annotations] == [1, 1, 2, 1]
    assert [a.bbox for a in found.annotations] == [
        *((5, 5, 20, 25), (40, 20, 10, 10), (24, 14, 12, 12), (51, 6, 3, 4)),
    ]
    assert [a.area for a in found.annotations] == [164, 100, pytest.approx(113, abs=6), 12]
    assert bitmap(found.annotations[3])[6:10, 51:54].all()
    assert "1 of 5 objects have no mask: left out." in caplog.text


def test_shapes_of_one_group_and_label_are_one_object(tmp_path):
    square = {"points": [[50, 30], [40, 20]], "shape_type": "rectangle"}
    shapes = [
        {"points": L_SHAPE, "group_id": 1},
        {**square, "group_id": 1},
        {**square, "group_id": 1, "label": "b"},
        {**square, "group_id": None},
    ]
    found = read(write(tmp_path, shapes)).annotations
    assert [(len(a.segmentation), a.bbox) for a in found] == [
        *((2, (5, 5, 45, 25)), (1, (40, 20, 10, 10)), (1, (40, 20, 10, 10))),
    ]


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["polygon", "mask"])
def test_labels_are_turned_with_a_picture_that_was_labelled_before(tmp_path, caplog, turn, kind):
    """The bright L lies under its label whichever way the picture is turned."""
    shape = {"points": L_SHAPE}
    if kind == "mask":
        stamp = np.zeros(HW, np.uint8)
        cv2.fillPoly(stamp, [np.array(L_SHAPE)], 1)
        text = base64.b64encode(cv2.imencode(".png", stamp)[1]).decode()
        shape = {"points": [[0, 0], [59, 39]], "shape_type": "mask", "mask": text}
    write(tmp_path, [shape])
    set_orientation(tmp_path / "1.jpg", turn)
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path)
    assert "1 pictures were labelled before their EXIF turn" in caplog.text
    assert found.images[0].image_hw == HW[::-1]
    bright = read_record(found.images[0])[..., 0] > 127
    label = bitmap(found.annotations[0], HW[::-1])
    assert (bright & label).sum() / (bright | label).sum() > 0.75  # JPEG, and fillPoly's last row


def test_labels_of_a_turned_picture_stay_where_labelme_showed_it_turned(tmp_path, caplog):
    write(tmp_path, [{"points": L_SHAPE}], HW[::-1])
    set_orientation(tmp_path / "1.jpg", 6)
    assert read(tmp_path).annotations[0].bbox == (5, 5, 20, 25)
    assert caplog.text == ""


def set_orientation(path, turn):
    data = path.read_bytes()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, turn, 0, 0)
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


WRONG = {
    "size": ({"imageHeight": 41}, r"1\.jpg: 40x60 pixels; 1\.json says 41x60 \(height x width\)"),
    "shapes": ({"shapes": {}}, r"1\.json: shapes is \{\}; expected a list"),
    "label": ({"shapes": [{"label": 3}]}, r"shapes\[0\]\.label is 3; expected a name"),
    "path": ({"imagePath": ""}, r"imagePath is ''; expected a file's name"),
    "points": (
        {"shapes": [{"label": "a", "points": [[1, float("nan")]]}]},
        r"shapes\[0\] is the point \[1, nan\]",
    ),
    "two points": (
        {"shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}]},
        r"shapes\[0\] is a polygon of 2 points; expected three or more",
    ),
    "mask": (
        {"shapes": [{"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "mask", "mask": "?"}]},
        r"shapes\[0\] is a mask that does not decode",
    ),
    "mixed group": (
        {
            "shapes": [
                {"label": "a", "points": L_SHAPE, "group_id": 1},
                {"label": "a", "points": [[1, 2], [3, 4]], "group_id": 1, "shape_type": "mask"},
            ]
        },
        r"shapes\[0\] is a mask in a group of 2 shapes; expected masks",
    ),
    "kind": (
        {"shapes": [{"label": "a", "shape_type": ["mask"]}]},
        r"shapes\[0\]\.shape_type is \['mask'\]; expected a word",
    ),
    "absent": ({"imagePath": "2.jpg"}, r"2\.jpg: no such picture \(1 of the 1"),
}


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG)
def test_what_labelme_does_not_write_is_refused(tmp_path, changes, words):
    file = write(tmp_path, [{"points": L_SHAPE}]) / "1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=words):
        load_coco(DataSource(tmp_path, val_share=1))


def test_a_file_that_is_cut_off_is_named(tmp_path):
    write(tmp_path, [{"points": L_SHAPE}])
    (tmp_path / "2.json").write_text('{"shapes": [')
    with pytest.raises(InputError, match=r"2\.json: could not be read .*expected labelme's JSON"):
        read(tmp_path)


def test_files_in_no_splits_folder_are_left_out_beside_splits(tmp_path, caplog):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        write(tmp_path / split, [{"points": L_SHAPE}])
    write(tmp_path, [{"points": L_SHAPE, "label": "b"}])
    (tmp_path / "val" / "notes.json").write_text("{}")
    found = read_split(tmp_path, "val")
    assert [image.path for image in found.images] == [tmp_path / "val" / "1.jpg"]
    assert "1 files are in no split's folder: left out." in caplog.text
