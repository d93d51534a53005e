"""torchvision's detectors imported here, instance by instance against torchvision itself.

    python -m maskrt.tools.counterparts.against_torchvision --python VENV/bin/python --out F.json

VENV has torch 2.14.1 and torchvision 0.29.1 (5.5 GB, never this project's requirement), where
`torchvision_reference.py` makes networks of both versions with random weights and runs them on
drawn pictures of several shapes. Their state dicts are imported, the pictures go through the deploy
form at the same size on a larger canvas, and each side's instances are looked for on the other
(`instances.py`). Beside it is what torchvision has in common with itself when every number of a
picture is moved by one unit in its last place, and by a millionth: rounding may cost as much.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
from ...train.networks.pyramid.roi_align import box_levels
from ...train.shapes.scenes import draw_scene
from ...train.weights.checkpoint import load_checkpoint
from ...train.weights.import_weights import import_checkpoint
from .instances import IOU, SCORE, Agreement, Instances, agreement, stored

NETWORKS = ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2")
SHAPES = ((320, 448), (448, 320), (333, 500), (480, 640), (290, 517))
"""Of the pictures, height and width; most end within a cell of the coarsest level."""
NORM_EPS = (0.0, 1e-5)
"""Of the first version's frozen norms, by the seed's parity."""
CANDIDATES = 4000
"""torchvision takes every pair above the threshold; so many are never there."""
BEYOND_PX = 64
"""What the canvas has more than the padded picture."""


@dataclass(frozen=True)
class Row:
    """One network on all pictures."""

    network: str
    seed: int
    here: Agreement
    """Torchvision's instances and those found here."""
    ulp: Agreement
    """Torchvision's and its own of pictures one unit in the last place away."""
    noise: Agreement
    """Torchvision's and its own of pictures with noise of 1e-6."""
    of_class: list[int]
    """Torchvision's instances of each class."""
    of_level: list[int]
    """And of each level that their masks are pooled from."""


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


def compare(
    python: Path, network: str, seed: int, pictures: int, threads: int = 1
) -> tuple[Row, str]:
    """One network both ways, and the versions it ran with."""
    with tempfile.TemporaryDirectory() as name:
        folder, eps = Path(name), NORM_EPS[seed % 2]
        drawn = draw_pictures(pictures)
        named = {f"picture_{i}": picture for i, picture in enumerate(drawn)}
        np.savez(folder / "pictures.npz", allow_pickle=False, **named)
        script = Path(__file__).with_name("torchvision_reference.py")
        command = [str(python), str(script), str(folder), "--network", network]
        command += ["--seed", str(seed), "--norm-eps", str(eps), "--threads", str(threads)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        out = folder / "imported.safetensors"
        second = network.endswith("_v2")
        import_checkpoint(
            folder / "weights.pth", "torchvision", out, norm_eps=None if second else eps
        )
        model = load_checkpoint(out).model
        assert isinstance(model, MaskRCNNFPN), "what torchvision's detectors are"
        theirs = stored(folder / "found.npz", pictures)
        others = {name: stored(folder / f"{name}.npz", pictures) for name in ("ulp", "noise")}
        others["here"] = [found_here(model, picture) for picture in drawn]
    return row_of(network, seed, model, theirs, others), done.stdout.strip()


def row_of(
    network: str,
    seed: int,
    model: MaskRCNNFPN,
    theirs: Sequence[Instances],
    others: Mapping[str, Sequence[Instances]],
) -> Row:
    """What torchvision's instances have in common with `others` (of `here`, `ulp`, `noise`)."""
    boxes = torch.from_numpy(np.concatenate([one.boxes for one in theirs]))
    labels = np.concatenate([one.labels for one in theirs])
    borders = model.borders()
    levels = box_levels(boxes, borders).numpy()
    same = {name: agreement(list(zip(theirs, one, strict=True))) for name, one in others.items()}
    return Row(
        *(network, seed, same["here"], same["ulp"], same["noise"]),
        of_class=np.bincount(labels, minlength=len(model.recipe.class_names)).tolist(),
        of_level=np.bincount(levels, minlength=len(borders) + 1).tolist(),
    )


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
            row, versions = compare(
                arguments.python, network, seed, arguments.pictures, arguments.threads
            )
            rows.append(row)
            print(f"{network} seed {seed}\n  here  {row.here}", flush=True)
            print(f"  ulp   {row.ulp}\n  noise {row.noise}", flush=True)
    if arguments.out is not None:
        record = {
            "what": "torchvision's detectors imported, FP32 torch here against torchvision, drawn "
            f"pictures of {', '.join(f'{h}x{w}' for h, w in SHAPES)} at their own size; an "
            f"instance is found where label, box and mask IoU {IOU} and score {SCORE} agree. "
            "`ulp` is torchvision against itself with every number of the pictures the next one in "
            "FP32, `noise` with noise of 1e-6 of each.",
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
