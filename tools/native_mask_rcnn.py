"""What a canvas larger than the picture does to Mask R-CNN, and what zeroing beyond it would do.

    python -m maskrt.tools.native_mask_rcnn [CHECKPOINT] [--pictures 20] [--out FILE.json]

The reference is the network at the picture's own size, with no cell beyond it. Compared on the
recipe's canvas: features as they come (`plain`); zeroed beyond the picture before every layer that
reads neighbours (`picture_edge`), where RoIAlign then reads them `as they come`, zeroed, or with
the picture's last cells repeated outwards, as RoIAlign itself does where a map ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..eval.machine.environment import environment
from ..runtime.files import write_text
from ..runtime.pictures.preprocess import Image, place_on_canvas
from ..train.deploy.deployment import Shapes, deploy
from ..train.deploy.mask_rcnn import DeployMaskRCNN
from ..train.networks.mask_rcnn import STRIDE
from ..train.networks.picture_edge import edge_repeated, every, inside_of, masked
from ..train.shapes.scenes import draw_scene
from ..train.weights.checkpoint import Checkpoint, load_checkpoint
from ..workflows.shipped import named_file

VARIANTS = ("plain", "edges, RoIAlign as they come", "edges, RoIAlign zeroed", "edges repeated")
PAIR_IOU = 0.5


@dataclass(frozen=True)
class Found:
    """N instances of one picture, on its canvas."""

    boxes: npt.NDArray[np.float32]
    """(N, 4) xyxy canvas px."""
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    masks: npt.NDArray[np.float32]
    """(N, m, m) probabilities."""


@dataclass(frozen=True)
class Agreement:
    """A variant against the network at the picture's own size, over all pictures."""

    variant: str
    instances: int
    """Of the reference."""
    matched: float
    """Share of them with the same label and box IoU 0.5."""
    box_px: float
    """Mean over matched ones of the largest difference of an edge, canvas px."""
    score: float
    """Mean difference of scores."""
    mask: float
    """Mean difference of mask probabilities."""


def run(module: DeployMaskRCNN, images: Tensor, sizes: Tensor, variant: str) -> Found:
    """The instances of picture 0, features treated as `variant` says."""
    model = module.model
    x = model.normalize(images, sizes)
    inside = None if variant == "plain" else inside_of(sizes, (x.shape[2], x.shape[3]))
    cells = every(inside, STRIDE)
    features = model.features(x, inside)
    zeroed = masked(features, cells)
    objectness, shifts = model.rpn(zeroed, cells)
    if variant == "edges, RoIAlign zeroed":
        features = zeroed
    elif variant == "edges repeated" and cells is not None:
        features = edge_repeated(zeroed, cells)
    boxes, scores, labels, masks, counts = (
        value.numpy()[0] for value in module.instances(features, objectness, shifts, sizes)
    )
    count = int(counts)
    return Found(boxes[:count], scores[:count], labels[:count], masks[:count])


@torch.inference_mode()
def compare(checkpoint: Checkpoint, images: Sequence[Image]) -> list[Agreement]:
    """Each variant over all pictures."""
    canvas = deploy(checkpoint, Shapes())
    assert isinstance(canvas.module, DeployMaskRCNN), "a checkpoint of the family"
    pairs: dict[str, list[tuple[Found, Found]]] = {variant: [] for variant in VARIANTS}
    for image in images:
        placed, sizes = (torch.from_numpy(v) for v in place_on_canvas([image], canvas.contract))
        height, width = (int(side) for side in sizes[0])
        native = DeployMaskRCNN(
            canvas.module.model, (height, width), canvas.module.proposals, canvas.module.detections
        )
        wanted = run(native, placed[:, :height, :width], sizes, "plain")
        for variant, found in pairs.items():
            found.append((wanted, run(canvas.module, placed, sizes, variant)))
    return [agreement(variant, found) for variant, found in pairs.items()]


def agreement(variant: str, pairs: Sequence[tuple[Found, Found]]) -> Agreement:
    """Differences of all matched instances."""
    rows = [_differences(wanted, found) for wanted, found in pairs]
    every_row = np.concatenate(rows)
    count = sum(len(wanted.scores) for wanted, _ in pairs)
    means = every_row.mean(axis=0) if len(every_row) else np.full(3, np.nan)
    return Agreement(variant, count, len(every_row) / max(count, 1), *(float(v) for v in means))


def _differences(wanted: Found, found: Found) -> npt.NDArray[np.float64]:
    """(matched, 3): largest edge difference, score difference, mean mask difference."""
    free, rows = np.ones(len(found.scores), np.bool_), []
    for box, score, label, mask in zip(
        wanted.boxes, wanted.scores, wanted.labels, wanted.masks, strict=True
    ):
        iou = np.where(free & (found.labels == label), _iou(box, found.boxes), 0.0)
        if not len(iou) or iou.max() < PAIR_IOU:
            continue
        best = int(iou.argmax())
        free[best] = False
        edge = np.abs(found.boxes[best] - box).max()
        rows.append(
            (edge, abs(found.scores[best] - score), np.abs(found.masks[best] - mask).mean())
        )
    return np.array(rows, np.float64).reshape(-1, 3)


def _iou(box: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(4,), (N, 4) xyxy -> (N,)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / np.maximum(areas - common, 1e-9), np.float64)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; write it with the machine it is from."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.native_mask_rcnn")
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("lsc_mask_rcnn_tiny"))
    parser.add_argument("--pictures", type=int, default=20, help="drawn ones (default 20)")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    arguments = parser.parse_args(argv)
    path = named_file(arguments.checkpoint)
    checkpoint = load_checkpoint(path)
    rng = np.random.default_rng(0)
    images = [draw_scene(rng).image for _ in range(arguments.pictures)]
    rows = compare(checkpoint, images)
    for row in rows:
        print(
            f"{row.variant:30} {row.matched:.4f} of {row.instances}  {row.box_px:.4f} px  "
            f"score {row.score:.5f}  mask {row.mask:.5f}"
        )
    if arguments.out is not None:
        record = {
            "what": "Mask R-CNN on its canvas against the network at each picture's own size, "
            "FP32 torch, drawn pictures of 240 to 320 px per side",
            "command": "python -m maskrt.tools.native_mask_rcnn CHECKPOINT --out FILE.json",
            "recipe": checkpoint.recipe.name,
            "environment": environment([path]),
            "rows": [asdict(row) for row in rows],
        }
        write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
