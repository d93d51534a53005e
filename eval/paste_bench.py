"""Mask pasting and run-length encoding, per instance on its box against the whole picture.

The straightforward way samples every mask at every pixel of the picture and encodes the full mask;
the runtime samples only the box and encodes the crop. Both run in one process, interleaved (A B B
A), so the ratio is of one machine under one load. Pixels must be equal, else the exit code is 1.

Run: `python -m maskrt.eval.paste_bench [--instances N] [--picture HxW] [--rounds R]`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..runtime.instances import Instances
from ..runtime.rle import Rle

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

MASK_CELLS = 28
NEAR_THRESHOLD = 1e-5
"""float32 coordinates round differently in the two ways: 28 cells times 1e-7, well within this."""


@dataclass(frozen=True)
class PasteTiming:
    """One comparison: medians over the rounds, for all instances of one picture."""

    instances: int
    picture_hw: tuple[int, int]
    whole_picture_ms: float
    own_box_ms: float
    ratio: float
    pixels_different: int
    """Pixels that differ and are not within `NEAR_THRESHOLD` of the threshold."""
    pixels_near_threshold: int
    """Pixels that differ but may, in float32."""


def sample_instances(count: int, picture_hw: tuple[int, int], seed: int = 0) -> Instances:
    """Blob masks in boxes of log-uniform sides, 8 px to 90 % of the picture."""
    rng = np.random.default_rng(seed)
    limit = np.array(picture_hw[::-1], dtype=np.float64)
    sides = np.exp(rng.uniform(np.log(8.0), np.log(0.9 * limit), (count, 2)))
    corners = rng.uniform(0.0, 1.0, (count, 2)) * (limit - sides)
    return Instances(
        image_hw=picture_hw,
        boxes=np.concatenate((corners, corners + sides), axis=1).astype(np.float32),
        scores=np.full(count, 0.9, dtype=np.float32),
        labels=np.zeros(count, dtype=np.int32),
        mask_probs=np.stack([_blob(rng) for _ in range(count)]),
        class_names=("object",),
    )


def _blob(rng: np.random.Generator) -> Float:
    """(m, m) probabilities of a wavy disc with soft edges, as a mask branch gives them."""
    y, x = (np.mgrid[:MASK_CELLS, :MASK_CELLS] + 0.5) / MASK_CELLS - 0.5
    waves = np.sin(np.arctan2(y, x) * rng.integers(2, 8) + rng.uniform(0.0, 2 * np.pi))
    inside = 0.4 + 0.08 * waves - np.hypot(x, y)
    return np.asarray(1.0 / (1.0 + np.exp(-25.0 * inside)), dtype=np.float32)


def whole_picture_values(mask: Float, box: Float, picture_hw: tuple[int, int]) -> Float:
    """(H, W) bilinear samples of the map at every pixel of the picture, zero outside the map."""
    cells = mask.shape[0]
    padded = np.zeros((cells + 2, cells + 2), dtype=np.float32)
    padded[1:-1, 1:-1] = mask
    (row, row_part), (column, column_part) = (
        _cell(picture_hw[axis], box[1 - axis], box[3 - axis], cells) for axis in (0, 1)
    )
    rows, columns = row[:, None], column[None, :]
    down, right = row_part[:, None], column_part[None, :]
    top = padded[rows, columns] * (1 - right) + padded[rows, columns + 1] * right
    bottom = padded[rows + 1, columns] * (1 - right) + padded[rows + 1, columns + 1] * right
    return np.asarray(top * (1 - down) + bottom * down, dtype=np.float32)


def _cell(
    length_px: int, low: np.float32, high: np.float32, cells: int
) -> tuple[npt.NDArray[np.intp], Float]:
    """Per pixel of one axis: the padded cell before its centre, and how far it is to the next."""
    centres = np.arange(length_px, dtype=np.float32) + np.float32(0.5)
    u = np.clip((centres - low) / (high - low) * cells + 0.5, 0, cells + 1)
    cell = np.minimum(np.floor(u).astype(np.intp), cells)
    return cell, (u - cell).astype(np.float32)


def whole_picture_rles(instances: Instances) -> list[Rle]:
    """The straightforward way: every mask on the whole picture, then the full mask encoded."""
    from pycocotools import mask as coco_mask

    rles: list[Rle] = []
    for mask, box in zip(instances.mask_probs, instances.boxes, strict=True):
        values = whole_picture_values(mask, box, instances.image_hw)
        pasted = np.asfortranarray(values >= instances.mask_threshold, dtype=np.uint8)
        encoded = coco_mask.encode(pasted)
        rles.append(Rle(size=list(encoded["size"]), counts=encoded["counts"].decode("ascii")))
    return rles


def own_box_rles(instances: Instances) -> list[Rle]:
    """The runtime's way, on a copy, because instances keep what they have pasted."""
    return dataclasses.replace(instances).rles()


def compare(instances: Instances, rounds: int = 3) -> PasteTiming:
    """Time both ways interleaved and count the pixels in which they differ."""
    own, whole = own_box_rles(instances), whole_picture_rles(instances)  # also the warm-up
    whole_ms: list[float] = []
    own_ms: list[float] = []
    for turn in range(rounds):
        pair = [(whole_picture_rles, whole_ms), (own_box_rles, own_ms)]
        for encode, times in pair if turn % 2 == 0 else reversed(pair):
            times.append(_elapsed_ms(encode, instances))
    different, near = _differences(instances, own, whole)
    slow, fast = float(np.median(whole_ms)), float(np.median(own_ms))
    return PasteTiming(len(instances), instances.image_hw, slow, fast, slow / fast, different, near)


def _elapsed_ms(encode: Callable[[Instances], list[Rle]], instances: Instances) -> float:
    start = time.perf_counter_ns()
    encode(instances)
    return (time.perf_counter_ns() - start) / 1e6


def _differences(instances: Instances, own: list[Rle], whole: list[Rle]) -> tuple[int, int]:
    """Differing pixels: those far from the threshold, and those within float32 rounding of it."""
    from pycocotools import mask as coco_mask

    different = near = 0
    for index, (ours, theirs) in enumerate(zip(own, whole, strict=True)):
        if ours == theirs:
            continue
        with warnings.catch_warnings():  # pycocotools 2.0.11 lags behind numpy 2.4's __array__
            warnings.simplefilter("ignore", DeprecationWarning)
            odd = coco_mask.decode(ours) != coco_mask.decode(theirs)
        values = whole_picture_values(
            instances.mask_probs[index], instances.boxes[index], instances.image_hw
        )
        close = np.abs(values - instances.mask_threshold) <= NEAR_THRESHOLD
        near += int((odd & close).sum())
        different += int((odd & ~close).sum())
    return different, near


def main(arguments: list[str] | None = None) -> int:
    """Print a table and, as the last line, one JSON object; 1 when pixels differ."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.eval.paste_bench", description=__doc__)
    parser.add_argument("--instances", type=_positive, default=100, metavar="N")
    parser.add_argument("--picture", type=_size_hw, default=(800, 1333), metavar="HxW")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="R")
    options = parser.parse_args(arguments)
    print(f"pasting {options.instances} masks, {options.rounds} rounds ...", file=sys.stderr)
    timing = compare(sample_instances(options.instances, options.picture), options.rounds)
    print(f"{'way':<24}{'median ms':>12}{'ratio':>10}")
    print(f"{'whole picture, numpy':<24}{timing.whole_picture_ms:>12.1f}{1:>10.1f}")
    print(f"{'own box (runtime)':<24}{timing.own_box_ms:>12.1f}{timing.ratio:>10.1f}")
    print(f"different pixels: {timing.pixels_different}")
    print(json.dumps(asdict(timing)))
    return 1 if timing.pixels_different else 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return value


def _size_hw(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _positive(height), _positive(width)


if __name__ == "__main__":
    sys.exit(main())
