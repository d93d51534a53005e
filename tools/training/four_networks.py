"""The comparison that the papers lack: C4 baseline, both LSC frameworks and FPN, side by side.

    python -m maskrt.tools.training.four_networks --runs DIR --data VAL ... --out FILE.json

Parameters, MACs and latency are those of the full-size recipes (800x1344, 1000 proposals;
untrained, since shapes are fixed and a run costs what a trained one costs), in turns in ONNX
Runtime FP32. Accuracy is that of the tiny recipes, trained from scratch with one budget: the
folders of DIR, by `TINY`. Their checkpoints are measured on every data set of --data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...eval import BenchOptions, environment, to_json
from ...export.to_onnx import export
from ...runtime.files import write_text
from ...runtime.sessions.open import ModelRef
from ...train.run_folder import RESULT
from ...train.weights.checkpoint import load_checkpoint
from ...workflows import bench_models, load_data, new_checkpoint
from ...workflows.inspection import CheckpointFacts, inspect_file
from ...workflows.measure import measured

FULL = {
    "Mask R-CNN C4": "mask_rcnn_r50_c4",
    "framework 1": "lsc_mask_rcnn_r50_512",
    "framework 2": "lsc_mask_rcnn_r50_1024",
    "Mask R-CNN FPN": "mask_rcnn_r50_fpn",
}
TINY = {
    "Mask R-CNN C4": "mask_rcnn_tiny",
    "framework 1": "lsc_mask_rcnn_tiny",
    "framework 2": "framework2_tiny",
    "Mask R-CNN FPN": "mask_rcnn_fpn_tiny",
}
"""Names of the runs' folders; framework 2 is `lsc_mask_rcnn_tiny` with twice the subnet's channels,
as the paper's 1024 are twice 512: model.subnet_channels=192."""
CANVAS = "input.canvas_hw=[800,1344]"


def accuracy_of(checkpoint: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Steps, parameters and AP on each data set."""
    loaded = load_checkpoint(checkpoint)
    found = {}
    for folder in folders:
        accuracy = measured(ModelRef(checkpoint), load_data(folder)).accuracy
        found[folder.name] = {"box": accuracy.box, "mask": accuracy.mask}
    return {"recipe": loaded.recipe.name, "steps": loaded.steps, "accuracy": found}


def cost_of(checkpoint: Path) -> dict[str, Any]:
    """Parameters and MACs, as `maskrt inspect` gives them."""
    facts = inspect_file(checkpoint)
    assert isinstance(facts, CheckpointFacts)
    return {"parameters": facts.parameters, "macs": facts.to_json()["macs"]}


def full_size(folder: Path, samples: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Costs by network, and the bench of all four."""
    costs, models = {}, []
    for name, recipe in FULL.items():
        checkpoint = folder / f"{recipe}.safetensors"
        new_checkpoint(recipe, checkpoint, (CANVAS,))
        costs[name] = {"recipe": recipe, **cost_of(checkpoint)}
        models.append(checkpoint.with_suffix(".onnx"))
        export(checkpoint, {"fp32": models[-1]})
    options = BenchOptions(samples=samples, warmup_calls=2)
    return costs, bench_models(models, options, on_step=print).to_json()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folders of the four trainings")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="val sets")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    with tempfile.TemporaryDirectory() as folder:
        costs, latency = full_size(Path(folder), arguments.samples)
    tiny = {
        name: accuracy_of(arguments.runs / f"run-{run}" / RESULT, arguments.data)
        for name, run in TINY.items()
    }
    record = {
        "what": (__doc__ or "").partition("\n")[0],
        "command": " ".join(["python -m maskrt.tools.training.four_networks", *words]),
        "environment": to_json(environment([])),
        "costs": costs,
        "latency": latency,
        "tiny": tiny,
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
