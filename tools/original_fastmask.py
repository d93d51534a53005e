"""How many of FastMask's best proposals are those of the published code, canvas by canvas.

    python -m maskrt.tools.original_fastmask [CHECKPOINT] [--out FILE.json]

The published code has no canvas: it scales a picture by its long side, cuts each side down to a
multiple of 4 and runs the network at that very size. Here that is computed from its description
alone (voidrank/FastMask at cb118f1): the size, the windows of each map and where they lie, each cut
out of a map padded with zeros, normalized and scored by itself. Only the layers are shared with
what is compared, the deploy form on a canvas as `runtime` fills it.

A window of ours is the same as one of theirs where their squares in the picture overlap by IoU 0.9;
neighbours of one level overlap by 0.82. Mask IoU is that of the same windows' masks, cut at 0.2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ..eval.machine.environment import environment
from ..runtime.files import write_text
from ..runtime.pictures.preprocess import Image, place_on_canvas
from ..train.deploy.deployment import Shapes, deploy
from ..train.networks.fastmask import FastMask
from ..train.shapes.scenes import draw_scene
from ..train.weights.checkpoint import Checkpoint, load_checkpoint
from ..train.weights.settings import with_settings
from ..workflows.shipped import named_file

HW = tuple[int, int]
Floats = npt.NDArray[np.float32]

ZOOM = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0)
LEVELS = {870: ZOOM[:-1], 1300: ZOOM}
"""Long side, px -> strides: the published fm-res39 and its zoom form."""
BEST = {870: (10, 100), 1300: (10, 100, 1000)}
LANDSCAPE = {870: (652, 868), 1300: (972, 1300)}
PICTURES_HW = ((338, 500), (563, 1000), (375, 500), (907, 1210), (640, 480), (500, 338), (480, 480))
TILE_PX = 240
EPS = 1e-5
SAME_IOU = 0.9
FOREGROUND = 0.2


@dataclass(frozen=True)
class Found:
    """K proposals of one picture, best first."""

    squares: Floats
    """(K, 4) xyxy windows, px of the picture."""
    masks: npt.NDArray[np.bool_]
    """(K, m, m) foreground cells."""


@dataclass(frozen=True)
class Row:
    """One picture on one canvas."""

    picture_hw: HW
    original_hw: HW
    """Size at which the published code runs the network."""
    canvas_hw: HW
    ours_hw: HW
    """The picture's on the canvas."""
    same: dict[int, float]
    """Of the published code's best 10, 100, ...: share that are among ours."""
    mask_iou: float
    """Mean over the same windows of the largest of these sets."""


def original_hw(image_hw: HW, long_px: int) -> HW:
    """Size that the published code scales a picture to."""
    scale = long_px / max(image_hw)
    height, width = (int(side * scale) // 4 * 4 for side in image_hw)
    return height, width


@torch.inference_mode()
def original(
    model: FastMask, image: Image, long_px: int, strides: Sequence[float], best: int
) -> Found:
    """The `best` proposals as the published code finds them, with the weights of `model`."""
    height, width = original_hw(image.shape[:2], long_px)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    source = model.recipe.input
    assert source.channel_order == "RGB", "as all networks of the family"
    pixels = (scaled.astype(np.float32) - source.mean) / source.std
    x = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)[None].copy())
    windows, squares, scores = [], [], []
    for stride, level in zip(strides, model.levels(x, tuple(strides)), strict=True):
        cut = _windows(model, level)
        windows.append(cut)
        scores.append(model.head.scores(cut))
        squares.append(_squares(stride, -(-height // int(stride)), -(-width // int(stride))))
    order = torch.cat(scores).sort(descending=True, stable=True).indices[:best]
    masks = model.head.masks(torch.cat(windows)[order])[0].sigmoid() >= FOREGROUND
    to_picture = np.array([image.shape[1] / width, image.shape[0] / height] * 2, np.float32)
    return Found(np.concatenate(squares)[order.numpy()] * to_picture, masks.numpy())


def _windows(model: FastMask, level: Tensor) -> Tensor:
    """(1, C, h, w) -> ((h + 1) * (w + 1), 10, 10, C) normalized by the norm's own statistics."""
    cut = F.pad(level, (5, 5, 5, 5)).unfold(2, 10, 1).unfold(3, 10, 1)[0]  # (C, h+1, w+1, 10, 10)
    cut = cut.permute(1, 2, 3, 4, 0).flatten(0, 1)
    norm = model.norm
    return (cut - norm.running_mean) / (norm.running_var + EPS).sqrt() * norm.weight + norm.bias


def _squares(stride: float, height: int, width: int) -> Floats:
    """The windows of a map of height x width cells, px of the network's input."""
    squares = [
        [(c - 5) * stride, (r - 5) * stride, (c + 5) * stride, (r + 5) * stride]
        for r in range(height + 1)
        for c in range(width + 1)
    ]
    return np.array(squares, np.float32)


@torch.inference_mode()
def on_canvas(checkpoint: Checkpoint, image: Image, canvas_hw: HW, best: int) -> tuple[Found, HW]:
    """Ours on a canvas, and the picture's size there."""
    deployment = deploy(checkpoint, Shapes(canvas_hw, proposals=best))
    canvases, sizes = place_on_canvas([image], deployment.contract)
    inputs = torch.from_numpy(canvases), torch.from_numpy(sizes)
    windows, _, masks, counts = (value.numpy()[0] for value in deployment.module(*inputs))
    height, width = (int(side) for side in sizes[0])
    to_picture = np.array([image.shape[1] / width, image.shape[0] / height] * 2, np.float32)
    count = int(counts)
    found = Found(windows[:count] * to_picture, masks[:count] >= FOREGROUND)
    return found, (height, width)


def same_windows(theirs: Found, ours: Found, best: int) -> tuple[float, float]:
    """Share of their best windows that are among our best, and the mean mask IoU of those."""
    iou = _iou(theirs.squares[:best], ours.squares[:best])
    rows = np.flatnonzero(iou.max(axis=1) >= SAME_IOU)
    one, other = theirs.masks[rows], ours.masks[iou.argmax(axis=1)[rows]]
    common = (one & other).sum(axis=(1, 2))
    either = (one | other).sum(axis=(1, 2))
    overlaps = np.where(either > 0, common / np.maximum(either, 1), 1.0)
    return len(rows) / len(iou), float(overlaps.mean()) if len(rows) else 0.0


def _iou(one: Floats, other: Floats) -> npt.NDArray[np.float64]:
    """(N, 4), (M, 4) xyxy -> (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return np.asarray(common / (areas[0][:, None] + areas[1][None] - common), np.float64)


def drawn(image_hw: HW, seed: int) -> Image:
    """A picture of any size: drawn scenes side by side, cut off at its edges."""
    rng = np.random.default_rng(seed)
    rows, columns = (-(-side // TILE_PX) for side in image_hw)
    tiles = [
        [draw_scene(rng).image[:TILE_PX, :TILE_PX] for _ in range(columns)] for _ in range(rows)
    ]
    whole = np.concatenate([np.concatenate(row, axis=1) for row in tiles])
    return np.ascontiguousarray(whole[: image_hw[0], : image_hw[1]])


def compare(
    checkpoint: Checkpoint, long_px: int, image: Image, canvases: Sequence[HW]
) -> list[Row]:
    """One row a canvas; `checkpoint` runs at `LEVELS[long_px]`."""
    model, best = checkpoint.model, BEST[long_px]
    assert isinstance(model, FastMask), "a checkpoint of the family"
    strides = model.recipe.model.test_strides
    theirs = original(model, image, long_px, strides, best[-1])
    rows = []
    for canvas_hw in canvases:
        ours, size_hw = on_canvas(checkpoint, image, canvas_hw, best[-1])
        shares = {k: same_windows(theirs, ours, k) for k in best}
        same = {k: share for k, (share, _) in shares.items()}
        native = original_hw(image.shape[:2], long_px)
        rows.append(Row(image.shape[:2], native, canvas_hw, size_hw, same, shares[best[-1]][1]))
    return rows


def table(checkpoint: Checkpoint, pictures_hw: Sequence[HW] = PICTURES_HW) -> list[Row]:
    """Each picture at both sizes, on the landscape canvas and on one of its own orientation."""
    rows = []
    for long_px, strides in LEVELS.items():
        levels = [f"{stride:g}" for stride in strides]
        asked = with_settings(
            checkpoint,
            [f"input.long_side_px={long_px}", f"model.test_strides=[{','.join(levels)}]"],
        )
        for seed, image_hw in enumerate(pictures_hw):
            canvases = dict.fromkeys((LANDSCAPE[long_px], own_canvas(image_hw, long_px)))
            rows += compare(asked, long_px, drawn(image_hw, seed), tuple(canvases))
            print(_line(rows[-1]) if len(canvases) == 1 else "\n".join(map(_line, rows[-2:])))
    return rows


def own_canvas(image_hw: HW, long_px: int) -> HW:
    """The canvas of the picture's orientation: landscape, the same upright, or square."""
    short, long = LANDSCAPE[long_px]
    if image_hw[0] == image_hw[1]:
        return long, long
    return (short, long) if image_hw[0] < image_hw[1] else (long, short)


def _line(row: Row) -> str:
    picture, native, canvas, ours = (
        f"{height}x{width}"
        for height, width in (row.picture_hw, row.original_hw, row.canvas_hw, row.ours_hw)
    )
    same = " ".join(f"{share:.3f}" for share in row.same.values())
    return f"{picture:>9} {native:>10} on {canvas:>9}: {ours:>9}  {same}  mask {row.mask_iou:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; write it with the machine it is from."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.original_fastmask")
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("fastmask_tiny"))
    parser.add_argument("--out", type=Path, help="JSON record to write")
    arguments = parser.parse_args(argv)
    path = named_file(arguments.checkpoint)
    checkpoint = load_checkpoint(path)
    print("  picture   original    canvas:      ours  same of best 10, 100, (1000)  same windows'")
    rows = table(checkpoint)
    if arguments.out is not None:
        record = {
            "what": "share of the published code's best proposals that ours has, FP32 torch",
            "command": "python -m maskrt.tools.original_fastmask CHECKPOINT --out FILE.json",
            "recipe": checkpoint.recipe.name,
            "origin": checkpoint.origin,
            "environment": environment([path]),
            "rows": [asdict(row) for row in rows],
        }
        write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
