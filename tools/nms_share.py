"""How much of framework 1 its two NMS take: each exported alone, in turns with the whole network.

    python -m maskrt.tools.nms_share FRAMEWORK1.onnx --out FILE.json [--samples 20]

Everything in ONNX Runtime FP32, boxes as an RPN gives them.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from ..eval import environment, to_json
from ..eval.timing.bootstrap import summarize
from ..eval.timing.operators import proposal_boxes, wall_clock
from ..runtime.files import write_text
from ..runtime.pictures.noise import noise_batch
from ..runtime.sessions.ort_session import OrtSession
from ..train.networks.nms import fixpoint_nms
from .turns import take

CANVAS_HW = (800, 1344)


class Nms(torch.nn.Module):
    """`fixpoint_nms` as a graph of its own."""

    def __init__(self, iou: float) -> None:
        super().__init__()
        self.iou = iou

    def forward(self, boxes: Tensor, valid: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, K) bool: which boxes stay."""
        return fixpoint_nms(boxes, valid, self.iou, labels)


def nms_call(count: int, iou: float, classes: int) -> Callable[[], object]:
    """One run in ONNX Runtime over `count` boxes as an RPN gives them; 0 `classes` for one NMS."""
    inputs = [torch.from_numpy(proposal_boxes(count, CANVAS_HW))]
    inputs += [torch.ones(1, count, dtype=torch.bool)]
    inputs += [torch.randint(0, classes, (1, count))] if classes else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Nms(iou).eval(), tuple(inputs), dynamo=True, opset_version=18, verbose=False
        )
    assert program is not None
    session = ort.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {at.name: one.numpy() for at, one in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feed)


def measure(path: Path, samples: int) -> dict[str, Any]:
    """The record: medians of each NMS and of the network, from turns that all take alike."""
    torch.manual_seed(0)
    with OrtSession(path) as session:
        batch = noise_batch(session.contract)
        calls = {
            "proposals 6000": wall_clock(nms_call(6000, 0.7, classes=0)),
            "detections 1000": wall_clock(nms_call(1000, 0.5, classes=80)),
            "framework1": wall_clock(lambda: session.run(*batch)),
        }
        times = take(calls, samples)
    medians = {name: summarize(np.array(taken)[:, None]) for name, taken in times.items()}
    return {
        "what": " ".join((__doc__ or "").split()),
        "commands": [f"python -m maskrt.tools.nms_share framework1.onnx --samples {samples}"],
        "samples_ms": times,
        "summaries": to_json(medians),
        "environment": environment([path]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    record = measure(arguments.model, arguments.samples)
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
