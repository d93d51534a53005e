"""`maskrt import`: other people's trained weights as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_verb


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "import", "turn other people's trained weights into a checkpoint", run)
    sub.add_argument("file", type=Path, help="e.g. model_final_4ce675.pkl")
    sub.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that weights do not depend on, e.g. FastMask's model.streams=1",
    )
    formats = ["detectron2", "torchvision", "mmdetection", "caffe"]
    sub.add_argument("--format", choices=formats, required=True)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".safetensors to write")
    sub.add_argument(
        "--config",
        type=Path,
        help="detectron2: the .yaml it was trained with, _BASE_ files beside; mmdetection: the .py",
    )
    sub.add_argument(
        "--classes", help="a,b,c in label order; .txt, a name a line; or COCO annotations (.json)"
    )
    sub.add_argument(
        "--norm-eps",
        type=float,
        metavar="EPS",
        help="torchvision's first detectors: 0 where training began from its COCO weights, or 1e-5",
    )
    sub.add_argument("--overwrite", action="store_true", help="replace --out and its .yaml")


def run(arguments: Arguments) -> Result:
    """Convert them."""
    from ...workflows import import_checkpoint

    report = import_checkpoint(
        arguments.file,
        arguments.format,
        arguments.out,
        config=arguments.config,
        classes=arguments.classes,
        norm_eps=arguments.norm_eps,
        overwrite=arguments.overwrite,
        overrides=arguments.overrides,
    )
    print(f"{arguments.out}: {report}")
    return {"checkpoint": str(arguments.out)}
