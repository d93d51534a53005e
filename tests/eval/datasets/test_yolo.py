"""Lines of YOLO's text files: what they mean and what they may not say."""

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.annotations import read_split
from maskrt.runtime.errors import InputError

TRIANGLE = "0 0.25 0.25 0.75 0.25 0.5 1.0"


def write(folder, *lines, names="[disc, star]", suffix=".png"):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for name in ("1", "2"):
            picture = np.full((40, 60, 3), 90, np.uint8)
            cv2.imwrite(str(folder / "images" / split / f"{name}{suffix}"), picture)
    (folder / "labels" / "val" / "1.txt").write_text("\n".join(lines) + "\n")
    (folder / "my.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_shares_are_pixels_of_the_picture(tmp_path, suffix):
    """A picture without a text file has no object; numbers of classes are category ids."""
    found = read_split(write(tmp_path, TRIANGLE, suffix=suffix), "val")
    assert [image.path.name for image in found.images] == [f"1{suffix}", f"2{suffix}"]
    assert [(c.category_id, c.name) for c in found.categories] == [(0, "disc"), (1, "star")]
    (one,) = found.annotations
    assert one.segmentation == [[15, 10, 45, 10, 30, 40]]
    assert (one.bbox, one.category_id, one.image_id) == ((15, 10, 30, 30), 0, 1)


def test_boxes_are_objects_without_a_mask(tmp_path, caplog):
    found = read_split(write(tmp_path, TRIANGLE, "1 0.5 0.5 0.2 0.2"), "val")
    assert len(found.annotations) == 1
    assert "1 of 2 objects have no mask: left out" in caplog.text


WRONG = {
    "words": ("0 a b c d e f", r"1\.txt: line 1 holds '0 a b c d e f'; expected numbers"),
    "no class": ("7 0 0 1 0 1 1", "line 1 holds class 7; expected one of 2"),
    "part of a class": ("0.5 0 0 1 0 1 1", r"line 1 holds class 0\.5"),
    "odd": ("0 0 0 1 0 1 1 0.5", "holds 7 numbers behind the class; expected pairs"),
    "pixels": ("0 10 10 40 10 20 30", "line 1 holds 10; expected shares of the picture's sides"),
    "NaN": ("0 0 0 1 0 1 nan", "line 1 holds nan"),
}


@pytest.mark.parametrize(("line", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_line_is_refused(tmp_path, line, words):
    with pytest.raises(InputError, match=words):
        read_split(write(tmp_path, line), "val")


def test_a_split_without_labels_or_pictures_is_refused(tmp_path):
    write(tmp_path, TRIANGLE)
    with pytest.raises(InputError, match=r"train/1\.txt: no such file, nor any other of the 2"):
        read_split(tmp_path, "train")
    (tmp_path / "my.yaml").write_text("train: a\nval: b\nnames: [disc]\n")
    for split in ("train", "val"):
        (tmp_path / "images" / split).rename(tmp_path / split)
    with pytest.raises(InputError, match=r"my\.yaml: no picture in the folder it names"):
        read_split(tmp_path, "val")


@pytest.mark.parametrize("names", ["3", "[]", "{a: 1}", "[[a]]"])
def test_names_that_are_none_are_refused(tmp_path, names):
    with pytest.raises(InputError, match=r"my\.yaml: names is .*; expected a list of class names"):
        read_split(write(tmp_path, TRIANGLE, names=names), "val")


def test_a_list_of_pictures_is_read(tmp_path):
    write(tmp_path, TRIANGLE)
    (tmp_path / "val.txt").write_text("images/val/1.png\n")
    (tmp_path / "my.yaml").write_text("train: images/train\nval: val.txt\nnames: {0: disc}\n")
    assert len(read_split(tmp_path, "val").images) == 1


def test_text_that_is_none_is_refused(tmp_path):
    write(tmp_path, TRIANGLE)
    (tmp_path / "labels" / "val" / "2.txt").write_bytes(b"\xff\xfe0\0")
    with pytest.raises(
        InputError, match=r"2\.txt: could not be read .*; expected a line of numbers"
    ):
        read_split(tmp_path, "val")
