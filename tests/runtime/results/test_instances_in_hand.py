"""What people do with a result: choose, loop, show, save, hand on."""

from __future__ import annotations

import builtins
import contextlib
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.preprocess import read_image
from maskrt.runtime.results.instances import Instances

HW = (40, 60)


@pytest.fixture
def three() -> Instances:
    """A disc, a star and a disc; the last one has two parts and a hole in one."""
    parts = np.zeros((7, 9), np.float32)
    parts[1:6, 0:5] = 1
    parts[3, 2] = 0
    parts[2:5, 6:9] = 1
    probs = np.zeros((3, 7, 9), np.float32)
    probs[:2], probs[2] = 1, parts
    return Instances(
        image_hw=HW,
        boxes=np.array([[2, 3, 12, 23], [30, 5, 58, 35], [0, 0, 54, 35]], np.float32),
        scores=np.array([0.9, 0.6, 0.4], np.float32),
        labels=np.array([0, 1, 0], np.int32),
        mask_probs=probs[:, :, :7],
        class_names=("disc", "star"),
    )


def test_indexing_slicing_and_looping_give_instances(three: Instances) -> None:
    three.rles()  # masks that are pasted already are handed on in the order asked for
    assert three.names == ["disc", "star", "disc"]
    assert three[1].names == ["star"]
    assert three[-1].scores.tolist() == [np.float32(0.4)]
    assert three[1:].names == ["star", "disc"]
    assert three[three.scores > 0.5].names == ["disc", "star"]
    turned = three[[2, 0, 1]]
    assert turned.scores.tolist() == three.scores[[2, 0, 1]].tolist()
    assert np.array_equal(turned.masks, three.masks[[2, 0, 1]])
    assert turned.rles() == [three.rles()[n] for n in (2, 0, 1)]
    assert [one.names for one in three] == [["disc"], ["star"], ["disc"]]
    assert len(three[[]]) == 0
    with pytest.raises(IndexError):
        three[3]


def test_filter_takes_a_score_of_each_class_and_classes(three: Instances) -> None:
    assert three.filter(0.5).names == ["disc", "star"]
    assert three.filter(0.7, by_class={"star": 0.5}).names == ["disc", "star"]
    assert three.filter(classes=["disc"]).scores.tolist() == three.scores[[0, 2]].tolist()
    assert three.filter(0.5, ["star", "disc"], {"disc": 0.95}).names == ["star"]
    assert len(three.filter(classes=[])) == 0
    assert len(three[[]].filter(0.5, ["star"])) == 0
    with pytest.raises(InputError, match=r"class 'cup': not among .* disc, star\. Correct"):
        three.filter(classes=["star", "cup"])
    with pytest.raises(InputError, match=r"class 'cup': not among"):
        three.filter(by_class={"cup": 0.5})
    with pytest.raises(InputError, match=r"score 1\.5 of disc: expected a score from 0 to 1"):
        three.filter(by_class={"disc": 1.5})


def test_polygons_are_the_outlines_of_the_masks_parts(three: Instances) -> None:
    polygons = three.polygons()
    assert [len(parts) for parts in polygons] == [1, 1, 2]
    for parts, mask in zip(polygons, three.masks, strict=True):
        filled = np.zeros(HW, np.uint8)
        cv2.fillPoly(filled, [part.astype(np.int32) for part in parts], (1,))
        assert (filled.astype(bool) >= mask).all()  # the hole is filled
        assert filled.sum() - mask.sum() < 40


def test_save_and_plot_show_what_draw_gives(
    three: Instances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    image = np.full((*HW, 3), 90, np.uint8)
    three.save(tmp_path / "new" / "three.png", image, 0.5)
    assert np.array_equal(read_image(tmp_path / "new" / "three.png"), three.draw(image, 0.5))
    shown: Any = three.plot(image, 0.5)
    assert np.array_equal(shown.get_images()[0].get_array(), three.draw(image, 0.5))
    assert three.plot(image, axes=shown) is shown
    with pytest.raises(InputError, match=r"cannot be written in this format"):
        three.save(tmp_path / "three.xyz", image)
    real = builtins.__import__

    def without_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(InputError, match=r"Instances\.plot: the Python package matplotlib is not"):
        three.plot(image)


def test_coco_load_res_reads_the_rows(three: Instances) -> None:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "star"}]
        truth.dataset = {
            "images": [{"id": 7, "height": 40, "width": 60}],
            "categories": categories,
        }
        truth.createIndex()
        loaded = truth.loadRes(three.to_coco(7))
    rows = loaded.loadAnns(loaded.getAnnIds(imgIds=[7]))
    for row, mask in zip(rows, three.masks, strict=True):
        assert np.array_equal(loaded.annToMask(row), mask)
