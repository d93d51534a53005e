"""torchvision's detectors imported here, instance by instance against torchvision itself.

    python -m maskrt.tools.counterparts.against_torchvision --python VENV/bin/python --out F.json

VENV has torch 2.14.1 and torchvision 0.29.1 (5.5 GB, never this project's requirement), where
`torchvision_reference.py` makes networks of both versions with random weights and runs them on
drawn pictures of several shapes. Their state dicts are imported, the pictures go through the deploy
form at the same size on a larger canvas, and each side's instances are looked for on the other: of
the same label, box and mask overlapping by 0.95, the score within 1e-4.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...eval.machine.environment import environment
from ...runtime.files import write_text
from ...train.deploy.mask_rcnn_fpn import DeployMaskRCNNFPN
from ...train.networks.pyramid.fpn import PADDING_PX
from ...train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from ...train.shapes.scenes import draw_scene
from ...train.weights.checkpoint import load_checkpoint
from ...train.weights.import_weights import import_checkpoint

NETWORKS = ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2")
SHAPES = ((320, 448), (448, 320), (333, 500), (416, 416), (290, 517))
"""Of the pictures, height and width; the last three end within a cell of the coarsest level."""
NORM_EPS = (0.0, 1e-5)
"""Of the first version's frozen norms, by the seed's parity."""
IOU, SCORE = 0.95, 1e-4
CANDIDATES = 4000
"""torchvision takes every pair above the threshold; so many are never there."""
BEYOND_PX = 64
"""What the canvas has more than the padded picture."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Instances:
    """N instances of one picture."""

    boxes: Floats
    """(N, 4) xyxy px."""
    scores: Floats
    labels: npt.NDArray[np.int64]
    """From 0 on."""
    masks: Floats
    """(N, m, m) probabilities in the boxes' frames; (N, 0, 0) without a mask branch."""


@dataclass(frozen=True)
class Agreement:
    """One network on all pictures."""

    network: str
    seed: int
    instances: int
    """Of torchvision."""
    found: float
    """Share of torchvision's instances that are here."""
    theirs: float
    """Share of the instances here that are torchvision's."""
    score: float
    """Largest difference of a pair's scores."""
    box_px: float
    """Largest difference of a pair's edges."""


def draw_pictures(count: int) -> list[npt.NDArray[np.uint8]]:
    """`count` (H, W, 3) RGB pictures, of one shape after the other."""
    rng = np.random.default_rng(14)
    return [draw_scene(rng, SHAPES[i % len(SHAPES)]).image for i in range(count)]


@torch.inference_mode()
def found_here(model: MaskRCNNFPN, picture: npt.NDArray[np.uint8]) -> Instances:
    """What the deploy form finds in a picture at its own size."""
    recipe, (height, width) = model.recipe, picture.shape[:2]
    canvas_hw = tuple(-(-side // PADDING_PX) * PADDING_PX + BEYOND_PX for side in (height, width))
    canvas = torch.zeros(1, *canvas_hw, 3, dtype=torch.uint8)
    canvas[0, :height, :width] = torch.from_numpy(picture)
    detections = dataclasses.replace(recipe.detections, candidates=CANDIDATES)
    module = DeployMaskRCNNFPN(model, (canvas_hw[0], canvas_hw[1]), recipe.proposals, detections)
    boxes, scores, labels, *masks, counts = (
        value.numpy()[0] for value in module(canvas, torch.tensor([[height, width]]).int())
    )
    count = int(counts)
    shown = masks[0][:count] if masks else np.zeros((count, 0, 0), np.float32)
    return Instances(boxes[:count], scores[:count], labels[:count].astype(np.int64), shown)


def agreement(network: str, seed: int, pairs: Sequence[tuple[Instances, Instances]]) -> Agreement:
    """Of (torchvision's, ours) of each picture."""
    there = [matches(theirs, ours) for theirs, ours in pairs]
    back = [matches(ours, theirs) for theirs, ours in pairs]
    one, other = np.concatenate(there), np.concatenate(back)
    right = one[one[:, 0] > 0]
    worst = right[:, 1:].max(axis=0) if len(right) else np.full(2, np.nan)
    return Agreement(
        *(network, seed, len(one), float(one[:, 0].mean()), float(other[:, 0].mean())),
        *(float(value) for value in worst),
    )


def matches(wanted: Instances, found: Instances) -> npt.NDArray[np.float64]:
    """(N, 3) of each wanted instance: whether it is in `found`, score and box difference."""
    rows = np.zeros((len(wanted.scores), 3))
    free = np.ones(len(found.scores), np.bool_)
    for i, row in enumerate(rows):
        scores = np.abs(found.scores - wanted.scores[i])
        same = free & (found.labels == wanted.labels[i]) & (scores <= SCORE)
        same &= _iou(wanted.boxes[i], found.boxes) >= IOU
        same &= _mask_iou(wanted.masks[i], found.masks) >= IOU
        if same.any():
            best = int(np.where(same, scores, np.inf).argmin())
            free[best] = False
            row[:] = (1, scores[best], np.abs(found.boxes[best] - wanted.boxes[i]).max())
    return rows


def _iou(box: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """(4,), (N, 4) xyxy -> (N,)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / np.maximum(areas - common, 1e-9), np.float64)


def _mask_iou(mask: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """(m, m), (N, m, m) -> (N,) of the cells at one half and above; 1 where there is none."""
    one, many = mask >= 0.5, others >= 0.5
    union = (one | many).sum(axis=(1, 2))
    return np.asarray(np.where(union, (one & many).sum(axis=(1, 2)) / np.maximum(union, 1), 1.0))


def stored(folder: Path, count: int) -> list[Instances]:
    """Torchvision's instances of each picture."""
    with np.load(folder / "found.npz") as found:
        return [
            Instances(
                found[f"boxes_{i}"],
                found[f"scores_{i}"],
                found[f"labels_{i}"] - 1,
                found[f"masks_{i}"][:, 0]
                if f"masks_{i}" in found.files
                else np.zeros((len(found[f"scores_{i}"]), 0, 0), np.float32),
            )
            for i in range(count)
        ]


def compare(python: Path, network: str, seed: int, pictures: int) -> tuple[Agreement, str]:
    """One network both ways, and the versions it ran with."""
    with tempfile.TemporaryDirectory() as name:
        folder, eps = Path(name), NORM_EPS[seed % 2]
        drawn = draw_pictures(pictures)
        named = {f"picture_{i}": picture for i, picture in enumerate(drawn)}
        np.savez(folder / "pictures.npz", allow_pickle=False, **named)
        script = Path(__file__).with_name("torchvision_reference.py")
        command = [str(python), str(script), str(folder), "--network", network, "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--norm-eps", str(eps)], check=True, stdout=subprocess.PIPE, text=True
        )
        out = folder / "imported.safetensors"
        second = network.endswith("_v2")
        import_checkpoint(
            folder / "weights.pth", "torchvision", out, norm_eps=None if second else eps
        )
        model = load_checkpoint(out).model
        assert isinstance(model, MaskRCNNFPN), "what torchvision's detectors are"
        pairs = [
            (theirs, found_here(model, picture))
            for theirs, picture in zip(stored(folder, pictures), drawn, strict=True)
        ]
        return agreement(network, seed, pairs), done.stdout.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; write it with the machine it is from."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.counterparts.against_torchvision")
    parser.add_argument("--python", type=Path, required=True, help="of the venv with torchvision")
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--pictures", type=int, default=10, help="of each network (default 10)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON record to write")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    rows, versions = [], ""
    for network in arguments.networks:
        for seed in arguments.seeds:
            row, versions = compare(arguments.python, network, seed, arguments.pictures)
            rows.append(row)
            print(
                f"{row.network:28} {row.seed}  {row.instances} instances  found {row.found:.4f}  "
                f"theirs {row.theirs:.4f}  score {row.score:.1e}  box {row.box_px:.1e} px",
                flush=True,
            )
    if arguments.out is not None:
        record = {
            "what": "torchvision's detectors imported, FP32 torch here against torchvision, drawn "
            f"pictures of {', '.join(f'{h}x{w}' for h, w in SHAPES)} at their own size; an "
            f"instance is found where label, box and mask IoU {IOU} and score {SCORE} agree",
            "command": "python -m maskrt.tools.counterparts.against_torchvision "
            "--python VENV/bin/python --out FILE.json",
            "versions": versions,
            "pictures": arguments.pictures,
            "environment": environment([]),
            "rows": [asdict(row) for row in rows],
        }
        write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
