"""torchvision's Mask R-CNN at full size: its weights and its own ONNX file, then calls on demand.

    python tools/counterparts/torchvision_eager.py FOLDER [--threads 2]

Runs by itself where torchvision is, as `torchvision_reference.py`, for `torchvision_speed.py`.
FOLDER holds `picture.npy`, (H, W, 3) uint8 RGB. Written are `weights.pth`, `torchvision.onnx` by
the exporter that can (`dynamo=False`; the newer one cannot, vision#9321) and `found.npz`. Then each
line of the standard input is one call, picture to masks of its size: `all`, or `heads`, which
leaves masks as the mask head gives them; answered by its milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torchvision_reference import network, run, write_found  # type: ignore[import-not-found]

CLASSES = 91
"""With the background, as of its COCO weights."""
BACKGROUND = 6.5


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
    with torch.inference_mode():
        torch.onnx.export(
            *(model, ([picture],), folder / "torchvision.onnx"),
            dynamo=False,
            opset_version=17,
            input_names=["picture"],
            output_names=["boxes", "labels", "scores", "masks"],
        )
        print(f"torch {torch.__version__}, torchvision {torchvision.__version__}", flush=True)
        for line in sys.stdin:
            began = time.perf_counter_ns()
            if line.strip() == "all":
                model([picture])
            else:
                run(model, [picture])
            print((time.perf_counter_ns() - began) / 1e6, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
