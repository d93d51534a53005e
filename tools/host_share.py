"""What the host adds to a full-size network: framework 1 with every slot filled, pipeline scope.

    python -m maskrt.tools.host_share --out eval/records/pipeline_cpu.json [--samples 20]

Untrained weights find nothing, so three of their layers are turned up until 100 detections come
out. The pictures are drawn scenes enlarged to the canvas, so the masks are pasted at that size too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..eval import BenchOptions, Candidate, bench, environment, to_json
from ..export.to_onnx import export
from ..runtime.files import sha256_of, write_text
from ..runtime.predictor import Predictor
from ..runtime.sessions.open import open_artefact
from ..train.networks.families import new_network
from ..train.recipes.recipe import load_recipe
from ..train.shapes.scenes import draw_scene
from ..train.weights.checkpoint import save_checkpoint

CANVAS_HW = (800, 1344)
PICTURES = 8
TURNED_UP = {
    "box_predictor.cls_score.weight": 30,
    "rpn.objectness_logits.weight": 30,
    "mask_head.predictor.weight": 300,
}
"""Weights and what they are multiplied by."""


def lively_framework_1(folder: Path) -> Path:
    """Untrained framework 1 whose detections fill their slots, as ONNX FP32."""
    torch.manual_seed(0)
    canvas = f"input.canvas_hw=[{CANVAS_HW[0]},{CANVAS_HW[1]}]"
    model = new_network(load_recipe("lsc_mask_rcnn_r50_512", [canvas]))
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, factor in TURNED_UP.items():
            parameters[name].mul_(factor)
    save_checkpoint(folder / "lively.safetensors", model)
    path = folder / "lively.onnx"
    export(folder / "lively.safetensors", {"fp32": path})
    return path


def measure(samples: int) -> dict[str, Any]:
    """The record: medians of the phases and of the whole, every sample beside them."""
    size = CANVAS_HW[::-1]
    images = [
        np.asarray(cv2.resize(draw_scene(np.random.default_rng(i)).image, size), np.uint8)
        for i in range(PICTURES)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = lively_framework_1(Path(folder))
        with Predictor(open_artefact(path)) as predictor:
            instances = [len(found.scores) for found in predictor.predict(images[:2])]
            candidate = Candidate(path.name, predictor, sha256_of(path))
            timed = bench([candidate], images, BenchOptions(samples, warmup_calls=12))
        facts = environment([path])
    phases = timed.backends[0].phase_medians_ms()
    whole_ms = timed.backends[0].summaries["pipeline"].p50_ms
    return {
        "what": " ".join((__doc__ or "").split()),
        "commands": [f"python -m maskrt.tools.host_share --samples {samples}"],
        "instances": instances,
        "phase_medians_ms": phases,
        "pipeline_p50_ms": whole_ms,
        "outside_engine_share": 1 - phases["model"] / whole_ms,
        "bench": to_json(timed),
        "environment": facts,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    write_text(arguments.out, json.dumps(measure(arguments.samples), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
