"""The published code's sizes and windows, and that ours on a canvas are the same."""

import json
from pathlib import Path

import pytest
import torch

import maskrt
from maskrt.tools import original_fastmask
from maskrt.tools.original_fastmask import drawn, on_canvas, original, original_hw, same_windows
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

LONG_PX = 132
STRIDES = (16.0, 24.0, 32.0, 48.0)
BEST = 40


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A narrow network with random norms, as the published code has it."""
    widths = (
        *("stem_channels=8", "body_channels=16", "reduced_channels=6", "score_channels=12"),
        *("score_hidden=10", "mask_rank=9", "mask_cells=8", "compat=original"),
        f"test_strides={[*STRIDES]}",
    )
    recipe = load_recipe(
        "fastmask_tiny", [*(f"model.{width}" for width in widths), f"input.long_side_px={LONG_PX}"]
    )
    torch.manual_seed(0)
    model = FastMask(recipe)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("running_mean", "norm.bias")):
                value.normal_(std=0.3)
        model.head.objectness.weight.normal_()
    path = tmp_path_factory.mktemp("original") / "a.safetensors"
    save_checkpoint(path, model)
    return load_checkpoint(path)


@pytest.mark.parametrize(
    ("image_hw", "long_px", "size_hw"),
    [
        ((338, 500), 1300, (876, 1300)),
        ((563, 1000), 1300, (728, 1300)),
        ((907, 1210), 1300, (972, 1300)),
        ((640, 480), 1300, (1300, 972)),
        ((480, 480), 1300, (1300, 1300)),
        ((480, 640), 870, (652, 868)),
    ],
)
def test_the_published_codes_sizes(
    image_hw: tuple[int, int], long_px: int, size_hw: tuple[int, int]
) -> None:
    assert original_hw(image_hw, long_px) == size_hw


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw"),
    [
        ((90, 120), (96, 132)),  # 4:3 fills its canvas
        ((66, 132), (96, 132)),
        ((120, 90), (132, 96)),
        ((110, 110), (132, 132)),
        ((110, 110), (200, 160)),
    ],
)
def test_a_canvas_of_the_pictures_orientation_gives_the_published_codes_proposals(
    checkpoint: Checkpoint, image_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> None:
    image = drawn(image_hw, 0)
    assert isinstance(checkpoint.model, FastMask)
    theirs = original(checkpoint.model, image, LONG_PX, STRIDES, BEST)
    ours, size_hw = on_canvas(checkpoint, image, canvas_hw, BEST)
    assert size_hw == original_hw(image_hw, LONG_PX)
    assert same_windows(theirs, ours, BEST) == (1.0, 1.0)


def test_a_canvas_of_another_orientation_loses_windows(checkpoint: Checkpoint) -> None:
    image = drawn((120, 90), 0)
    assert isinstance(checkpoint.model, FastMask)
    theirs = original(checkpoint.model, image, LONG_PX, STRIDES, BEST)
    ours, size_hw = on_canvas(checkpoint, image, (96, 132), BEST)
    assert size_hw == (96, 72)
    assert same_windows(theirs, ours, BEST)[0] < 0.5


def test_the_table_has_both_canvases(
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (
        ("LEVELS", {LONG_PX: STRIDES}),
        ("BEST", {LONG_PX: (10, BEST)}),
        ("LANDSCAPE", {LONG_PX: (96, 132)}),
    ):
        monkeypatch.setattr(original_fastmask, name, value)
    rows = original_fastmask.table(checkpoint, [(90, 120), (120, 90)])
    assert [row.canvas_hw for row in rows] == [(96, 132), (96, 132), (132, 96)]
    assert [row.same[BEST] == 1.0 for row in rows] == [True, False, True]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_record_says_the_same_of_full_size() -> None:
    """Upright and square pictures come to the level of landscape ones on a canvas of their own."""
    path = Path(maskrt.__path__[0]) / "eval" / "records" / "fastmask_original_cpu.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    fits = [row for row in rows if row["ours_hw"] == row["original_hw"]]
    assert {tuple(row["picture_hw"]) for row in fits} == set(original_fastmask.PICTURES_HW)
    assert min(share for row in fits for share in row["same"].values()) > 0.99
    assert min(row["mask_iou"] for row in fits) > 0.99
    shrunk = [row for row in rows if row not in fits]
    assert max(row["same"]["100"] for row in shrunk) < 0.5
