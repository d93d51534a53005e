"""torchvision's Mask R-CNN at full size: its weights and its own ONNX files, then calls on demand.

    python tools/counterparts/torchvision_eager.py FOLDER [--threads 2]

Runs by itself where torchvision is, as `torchvision_reference.py`, for `torchvision_speed.py`.
FOLDER holds `picture.npy`, (H, W, 3) uint8 RGB. Written are `weights.pth`, `found.npz` and two ONNX
files, by the exporter that can (`dynamo=False`; the newer one cannot, vision#9321): `all.onnx`, the
network as it is, which pastes masks into the picture, and `heads.onnx`, which leaves them as the
mask head gives them. Then each line of the standard input is one call, `all` or `heads`, answered
by its milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor, nn
from torchvision_reference import (  # type: ignore[import-not-found]
    detections,
    network,
    run,
    write_found,
)

CLASSES = 91
"""With the background, as of its COCO weights."""
BACKGROUND = 6.5


class Heads(nn.Module):
    """A detector that leaves masks as its mask head gives them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        """One picture (3, H, W)."""
        return [detections(self.model, pictures[0])]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, then answer."""
    parser = argparse.ArgumentParser(prog="python tools/counterparts/torchvision_eager.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder
    torch.set_num_threads(arguments.threads)
    drawn = torch.from_numpy(np.load(folder / "picture.npy", allow_pickle=False))
    picture = drawn.permute(2, 0, 1).float() / 255
    model = network("maskrcnn_resnet50_fpn", 0, [picture], 1e-5, CLASSES, BACKGROUND)
    torch.save(model.state_dict(), folder / "weights.pth")
    write_found(folder / "found.npz", run(model, [picture]))  # which also sets the size
    ways = {"all": model, "heads": Heads(model).eval()}
    with torch.inference_mode():
        for name, way in ways.items():
            torch.onnx.export(
                *(way, ([picture],), folder / f"{name}.onnx"),
                dynamo=False,
                opset_version=17,
                input_names=["picture"],
            )
        print(f"torch {torch.__version__}, torchvision {torchvision.__version__}", flush=True)
        for line in sys.stdin:
            began = time.perf_counter_ns()
            ways[line.strip()]([picture])
            print((time.perf_counter_ns() - began) / 1e6, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
