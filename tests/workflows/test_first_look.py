"""What `predict` says to somebody who has just begun, and the picture that comes with maskrt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError
from maskrt.runtime.files import sha256_of
from maskrt.runtime.pictures.preprocess import read_image
from maskrt.train.shapes.scenes import draw_scene
from maskrt.workflows.prediction import predict_files
from maskrt.workflows.shipped import CHECKPOINTS, PICTURE, what_it_knows

from ..conftest import Ran

Write = Callable[[str | None], Path]
Run = Callable[..., Ran]


@pytest.fixture
def dim(tmp_path: Path) -> Path:
    """A picture in which the tiny artefact finds two instances of score 0.48."""
    assert cv2.imwrite(str(tmp_path / "dim.png"), np.full((64, 96, 3), 122, np.uint8))
    return tmp_path / "dim.png"


def test_the_shipped_picture_is_a_drawn_one() -> None:
    drawn = draw_scene(np.random.default_rng(206), (300, 400)).image
    difference = np.abs(read_image(PICTURE).astype(int) - drawn)
    assert PICTURE.stat().st_size < 30_000
    assert difference.mean() < 3  # of 255, by JPEG


def test_the_first_command_finds_shapes_in_the_picture_that_is_there(
    maskrt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = maskrt("predict", "lsc_mask_rcnn_tiny", "shapes.jpg", "--out", "found")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("found: 1 picture, 9 instances drawn\n")
    assert "knows 10 classes: circle, square, " in ran.out
    assert "trained on drawn shapes alone, not on photographs" in ran.out
    assert (tmp_path / "found" / "shapes.jpg").is_file()


def test_a_picture_of_the_users_own_comes_first(
    write_onnx: Write, tiny_contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cv2.imwrite("shapes.jpg", np.full((20, 30, 3), 255, np.uint8))
    predict_files(write_onnx(tiny_contract.to_json()), [Path("shapes.jpg")], tmp_path / "out")
    assert read_image(tmp_path / "out" / "shapes.jpg").shape == (20, 30, 3)


def test_where_nothing_is_drawn_the_score_that_would_draw_is_said(
    maskrt: Run, write_onnx: Write, tiny_contract: Contract, dim: Path, tmp_path: Path
) -> None:
    onnx = write_onnx(tiny_contract.to_json())
    ran = maskrt("predict", onnx, dim, "--out", tmp_path / "out", "--json")
    assert "0 instances drawn" in ran.out
    assert "nothing scores 0.5 or more; the best has 0.48: --score 0.4 draws it" in ran.out
    again = maskrt("predict", onnx, dim, "--out", tmp_path / "out", "--score", 0.4)
    assert "2 instances drawn" in again.out
    assert "nothing scores" not in again.out


@pytest.mark.parametrize(
    ("task", "most", "drawn"), [("instances", None, 2), ("instances", 1, 1), ("instances", 5, 2)]
)
def test_no_more_are_drawn_than_asked_for(
    write_onnx: Write,
    tiny_contract: Contract,
    dim: Path,
    tmp_path: Path,
    task: str,
    most: int | None,
    drawn: int,
) -> None:
    assert tiny_contract.task == task
    onnx, out = write_onnx(tiny_contract.to_json()), tmp_path / "out"
    assert predict_files(onnx, [dim], out, 0.1, most=most).instances == drawn


def test_none_at_all_is_no_number_to_draw(
    write_onnx: Write, tiny_contract: Contract, dim: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--most 0: expected at least 1"):
        predict_files(write_onnx(tiny_contract.to_json()), [dim], tmp_path / "out", most=0)
    assert not (tmp_path / "out").exists()


def test_classes_are_named_up_to_a_dozen(tiny_contract: Contract) -> None:
    many = dataclasses.replace(tiny_contract, class_names=tuple(f"c{n}" for n in range(80)))
    assert what_it_knows(many) == (
        "knows 80 classes: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 and 68 more"
    )
    one = dataclasses.replace(tiny_contract, class_names=("leaf",))
    assert what_it_knows(one) == "knows 1 class: leaf"


def test_whatever_was_made_of_a_shipped_network_is_known(tiny_contract: Contract) -> None:
    shipped = dataclasses.replace(
        tiny_contract,
        task="proposals",
        class_names=("object",),
        checkpoint_sha256=sha256_of(CHECKPOINTS / "fastmask_tiny.safetensors"),
    )
    assert what_it_knows(shipped) == (
        "proposes objects of any kind, without classes; it was trained on drawn shapes alone, "
        "not on photographs"
    )
