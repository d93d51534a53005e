"""INT8 and FP8 files of the shipped networks: their accuracy, and what their engines compute.

    python -m maskrt.tools.precision.quantized accuracy --out eval/records/quantized_tiny.json
    python -m maskrt.tools.precision.quantized engines --out eval/records/quantized_engines.json

Accuracy: each file is calibrated on 64 train pictures and judged on 200 val pictures of two drawn
sets, by emulation against the checkpoint. Engines: TensorRT-RTX builds them, which needs no GPU, of
the shipped networks and of the full-size ones with random weights, and the parsed network says how
much of the work is in which precision. None is run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...engines.builder import build_engine
from ...eval import CocoData, environment, to_json
from ...export.precision.eight_bits import EIGHT_BITS, EightBits
from ...runtime.files import write_text
from ...train.shapes.drawing import draw_shapes
from ...workflows import export_checkpoint, load_data, new_checkpoint
from ...workflows.measure import measured, measured_hop
from ...workflows.open import model_ref
from ...workflows.shipped import CHECKPOINTS

NETWORKS = ("lsc_mask_rcnn_tiny", "fastmask_tiny")
FULL_SIZE = ("lsc_mask_rcnn_r50_512", "fastmask_r39")
SEEDS = (2026, 31337)
CALIBRATED_ON = 64


def accuracy(images: int, folder: Path) -> dict[str, Any]:
    """Both precisions of each shipped checkpoint on every set."""
    sets = {s: draw_shapes(folder / f"shapes-{s}", CALIBRATED_ON, images, s) for s in SEEDS}
    networks: dict[str, Any] = {}
    for name in NETWORKS:
        checkpoint = CHECKPOINTS / f"{name}.safetensors"
        files = {p: folder / f"{name}-{p}.onnx" for p in EIGHT_BITS}
        found = {p: _exported(checkpoint, files[p], p, sets[SEEDS[0]]) for p in EIGHT_BITS}
        for seed, data_folder in sets.items():
            _judge(found, checkpoint, files, load_data(data_folder), seed)
        networks[name] = found
    return {"images": images, "networks": networks}


def engines(images: int, folder: Path) -> dict[str, Any]:
    """Both precisions of each network as an engine; `images` to calibrate on."""
    data = draw_shapes(folder / "shapes", images, 1, SEEDS[0])
    checkpoints = {name: CHECKPOINTS / f"{name}.safetensors" for name in NETWORKS}
    for recipe in FULL_SIZE:
        checkpoints[recipe] = folder / f"{recipe}.safetensors"
        new_checkpoint(recipe, checkpoints[recipe])
    return {
        name: {p: _built(checkpoint, folder / f"{name}-{p}.onnx", p, data) for p in EIGHT_BITS}
        for name, checkpoint in checkpoints.items()
    }


def _exported(checkpoint: Path, path: Path, precision: EightBits, data: Path) -> dict[str, Any]:
    _say(f"{path.name}: export")
    (report,) = export_checkpoint(checkpoint, path, precision, calibrate=data)
    return {
        "export": to_json(report.quantized),
        "verified": to_json(report.verification),
        "headroom": to_json(report.headroom),
        "bytes": path.stat().st_size,
    }


def _judge(
    found: dict[EightBits, Any],
    checkpoint: Path,
    files: dict[EightBits, Path],
    data: CocoData,
    seed: int,
) -> None:
    """Add the gate of each file on one set."""
    _say(f"{checkpoint.name}: seed {seed}")
    reference = measured(model_ref(checkpoint), data)
    for precision, path in files.items():
        _say(f"{path.name}: seed {seed}")
        candidate = measured(model_ref(path), data)
        found[precision].setdefault("seeds", {})[str(seed)] = {
            "backend": candidate.accuracy.backend,
            "reference": {"box": reference.accuracy.box, "mask": reference.accuracy.mask},
            "accuracy": {"box": candidate.accuracy.box, "mask": candidate.accuracy.mask},
            "hop": to_json(measured_hop(reference, candidate, path)),
        }


def _built(checkpoint: Path, path: Path, precision: EightBits, data: Path) -> dict[str, Any]:
    export = _exported(checkpoint, path, precision, data)
    _say(f"{path.name}: build")
    built = build_engine(path, path.with_suffix(".engine"), progress=False)
    network = {key: value for key, value in built.network.to_dict().items() if key != "layers"}
    return export | {
        "engine_bytes": built.engine_path.stat().st_size,
        "tensorrt": built.fingerprint.tensorrt_version,
        "network": network,
        "notes": [*built.notes],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


PARTS = {"accuracy": (accuracy, 200), "engines": (engines, 2)}
"""What is measured, and on how many pictures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one part and write its record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--images", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    measure, images = PARTS[arguments.part]
    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder:
        found = measure(arguments.images or images, Path(folder))
    record = {
        "what": " ".join((__doc__ or "").split()),
        "commands": [f"python -m maskrt.tools.precision.quantized {arguments.part}"],
        arguments.part: found,
        "environment": environment([CHECKPOINTS / f"{name}.safetensors" for name in NETWORKS]),
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
