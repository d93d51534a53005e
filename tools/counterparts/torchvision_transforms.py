"""What torchvision's v2 transforms do to small pictures, boxes and masks, as numbers for a test.

    VENV/bin/python tools/counterparts/torchvision_transforms.py tests/train/data/torchvision.json

Runs by itself where torchvision is (`pip install torch==2.14.1 torchvision==0.29.1`), without this
package: `tests/train/data/test_against_torchvision.py` compares what augmentation does here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2  # type: ignore[import-not-found,import-untyped,unused-ignore]

IMAGES_HW = ((480, 640), (640, 428), (333, 500), (1200, 1600))
FACTORS = (0.1, 0.333, 0.5, 0.789, 1.0, 1.371, 2.0)
SIDE_PX = 1024
"""Of the square that the sizes are for: the published setting."""
BOXES = [[40.0, 60, 200, 300], [0, 0, 30.5, 20.25], [300, 200, 420, 479], [600, 10, 639, 470]]
WINDOWS = ((100, 60, 360, 480), (0, 0, 360, 480), (350, 400, 360, 480), (7, 3, 200, 100))
"""Top, left, height and width in the picture once it is `SCALED_HW`."""
SCALED_HW = (720, 960)
STRENGTHS = (0.6, 1.4)


def sizes() -> list[dict[str, Any]]:
    """Of pictures after ScaleJitter by one factor."""
    found = []
    for height, width in IMAGES_HW:
        image = tv_tensors.Image(torch.zeros(3, height, width, dtype=torch.uint8))
        for factor in FACTORS:
            jitter = v2.ScaleJitter((SIDE_PX, SIDE_PX), scale_range=(factor, factor))
            size_hw = [*jitter(image).shape[-2:]]
            found.append({"image_hw": [height, width], "factor": factor, "size_hw": size_hw})
    return found


def boxes() -> list[dict[str, Any]]:
    """Scaled, mirrored, cropped and sanitized."""
    found = []
    for window in WINDOWS:
        for mirrored in (False, True):
            moved = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=IMAGES_HW[0])
            moved = v2.functional.resize(moved, [*SCALED_HW])
            moved = v2.functional.horizontal_flip(moved) if mirrored else moved
            moved = v2.functional.crop(moved, *window)
            labels = torch.arange(len(BOXES))
            kept = v2.SanitizeBoundingBoxes(min_size=1)({"boxes": moved, "labels": labels})
            found.append(
                {
                    "window": window,
                    "mirrored": mirrored,
                    "boxes": kept["boxes"].tolist(),
                    "kept": kept["labels"].tolist(),
                }
            )
    return found


def picture() -> Tensor:
    """(3, 12, 16) uint8: slopes of another direction in each channel, and a bright square."""
    y, x = torch.meshgrid(torch.arange(12), torch.arange(16), indexing="ij")
    image = torch.stack([x * 16, y * 20, 240 - 8 * x - 8 * y])
    image[:, 4:8, 9:13] = torch.tensor([250, 128, 90])[:, None, None]
    return image.to(torch.uint8)


def rows(image: Tensor) -> list[Any]:
    """(3, H, W) as H rows of W times red, green, blue."""
    return image.permute(1, 2, 0).tolist()


def resized(size_hw: tuple[int, int]) -> dict[str, Any]:
    """The picture as ScaleJitter makes it by default, and without antialiasing."""
    image = tv_tensors.Image(picture())
    both = [v2.functional.resize(image, [*size_hw], antialias=soft) for soft in (True, False)]
    return {"size_hw": size_hw, "antialiased": rows(both[0]), "bilinear": rows(both[1])}


def colours() -> dict[str, Any]:
    """Brightness and contrast, each by its factor, and the mean grey that contrast turns about."""
    image = picture()
    return {
        "mean_grey": v2.functional.rgb_to_grayscale(image.float()).floor().mean().item(),
        "brightness": {f: rows(v2.functional.adjust_brightness(image, f)) for f in STRENGTHS},
        "contrast": {f: rows(v2.functional.adjust_contrast(image, f)) for f in STRENGTHS},
        "range": v2.ColorJitter(brightness=0.3, contrast=0.3).brightness,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write them all."""
    parser = argparse.ArgumentParser(prog="python tools/counterparts/torchvision_transforms.py")
    parser.add_argument("out", type=Path, help="JSON to write")
    record = {
        "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "side_px": SIDE_PX,
        "sizes": sizes(),
        "boxes": {"given": BOXES, "image_hw": IMAGES_HW[0], "scaled_hw": SCALED_HW},
        "cropped": boxes(),
        "picture": rows(picture()),
        "resized": [resized((17, 23)), resized((6, 8)), resized((3, 4))],
        "colours": colours(),
    }
    parser.parse_args(argv).out.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
