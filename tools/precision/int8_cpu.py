"""What INT8 gains and costs on a CPU, in OpenVINO and in ONNX Runtime, beside FP32 and BF16.

    python -m maskrt.tools.precision.int8_cpu accuracy --out eval/records/int8_cpu.json
    python -m maskrt.tools.precision.int8_cpu speed --out eval/records/int8_cpu.json [--samples 10]

`speed` times full-size networks in one interleaved run, untrained and calibrated on few pictures:
shapes are fixed and a run costs what a trained one costs. `accuracy` holds the tiny trained ones
against their checkpoints in the same sessions, on two seeds, calibrated on others. Each writes its
part of the record and leaves the other.
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
from ...runtime.contract import Precision
from ...runtime.files import write_text
from ...runtime.sessions.open import ModelRef
from ...workflows import bench_models, load_data, new_checkpoint
from ...workflows.data import draw_data
from ...workflows.measure import measured, measured_hop
from ...workflows.shipped import CHECKPOINTS

CANVAS = "input.canvas_hw=[800,1344]"
FULL: dict[str, tuple[str, tuple[str, ...]]] = {
    "framework1": ("lsc_mask_rcnn_r50_512", (CANVAS,)),
    "fastmask": ("fastmask_r39", ()),
    "fpn": ("mask_rcnn_r50_fpn", (CANVAS,)),
}
"""By name of the files, recipe and overrides."""
TINY = ("lsc_mask_rcnn_tiny", "fastmask_tiny", "mask_rcnn_fpn_tiny")
WAYS = (
    ("fp32", "onnxruntime-cpu"),
    ("int8", "onnxruntime-int8"),
    ("fp32", "openvino"),
    ("fp16", "openvino"),
    ("int8", "openvino"),
    ("int8-fp32", "openvino"),
)
"""File, session; OpenVINO computes FP16 in BF16 where the processor has it, also beside INT8."""
SEEDS = (2026, 31337)
CALIBRATION_SEED = 7
CALIBRATED_ON = {"tiny": 64, "full": 4}


def exported(
    checkpoint: Path, name: str, folder: Path, pictures: Sequence[Path]
) -> dict[str, Path]:
    """Its files: in all precisions, INT8 with FP16 beside it and once more with FP32."""
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    paths = {precision: folder / f"{name}-{precision}.onnx" for precision in precisions}
    full = folder / f"{name}-int8-fp32.onnx"
    print(f"{name}: exporting", file=sys.stderr)
    export(checkpoint, paths, calibration=pictures)
    export(checkpoint, {"int8": full}, rest="fp32", calibration=pictures)
    return {**{str(precision): path for precision, path in paths.items()}, "int8-fp32": full}


def calibration(folder: Path) -> list[Path]:
    """Drawn pictures that nothing is measured on."""
    draw_data(folder / "calibration", CALIBRATED_ON["tiny"], 1, CALIBRATION_SEED)
    return sorted((folder / "calibration" / "train").iterdir())


def speed(folder: Path, samples: int) -> dict[str, Any]:
    """One run of every full-size network in every way."""
    pictures = calibration(folder)[: CALIBRATED_ON["full"]]
    models = []
    for name, (recipe, overrides) in FULL.items():
        checkpoint = folder / f"{name}.safetensors"
        new_checkpoint(recipe, checkpoint, overrides)
        paths = exported(checkpoint, name, folder, pictures)
        models += [ModelRef(paths[file], session) for file, session in WAYS]
    options = BenchOptions(samples=samples, warmup_calls=2)
    return bench_models(models, options, on_step=print).to_json()


def accuracy(folder: Path, images: int) -> dict[str, Any]:
    """The hop from the checkpoint to every way, by network and seed."""
    pictures = calibration(folder)
    rows = []
    for seed in SEEDS:
        draw_data(folder / str(seed), 1, images, seed)
    for name in TINY:
        checkpoint = CHECKPOINTS / f"{name}.safetensors"
        paths = exported(checkpoint, name, folder, pictures)
        for seed in SEEDS:
            data = load_data(folder / str(seed))
            reference = measured(ModelRef(checkpoint), data)
            for file, session in WAYS:
                print(f"{name}: {file}@{session}, seed {seed}", file=sys.stderr)
                candidate = measured(ModelRef(paths[file], session), data)
                hop = measured_hop(reference, candidate, paths[file])
                backend = candidate.accuracy.backend
                rows.append(
                    {"network": name, "seed": seed, "backend": backend, "hop": to_json(hop)}
                )
    return {"images": images, "rows": rows}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one part and write it into the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=["speed", "accuracy"])
    parser.add_argument("--samples", type=int, default=10, help="turns of the speed part")
    parser.add_argument("--images", type=int, default=200, help="a seed of the accuracy part")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        if arguments.part == "speed":
            asked, found = f"--samples {arguments.samples}", speed(Path(name), arguments.samples)
        else:
            asked, found = f"--images {arguments.images}", accuracy(Path(name), arguments.images)
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    record["what"] = (__doc__ or "").partition("\n")[0]
    record[arguments.part] = {
        "command": f"python -m maskrt.tools.precision.int8_cpu {arguments.part} {asked}",
        "calibrated_on": CALIBRATED_ON,
        "environment": to_json(environment([])),
        **found,
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
