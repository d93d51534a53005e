"""`maskrt build`: an exported ONNX file as a TensorRT engine and its sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_verb
from ..output import say

RUNTIMES = ("tensorrt-rtx", "tensorrt")


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "build", "ONNX -> TensorRT engine and its .engine.json", run)
    sub.add_argument("onnx", type=Path, help=".onnx, or the folder of a bundle")
    sub.add_argument(
        "-o", "--out", type=Path, required=True, help=".engine to write; of a bundle a folder"
    )
    sub.add_argument("--runtime", choices=RUNTIMES, default="tensorrt-rtx")
    sub.add_argument("--operators", choices=["auto", "plugin", "portable"], default="auto")
    sub.add_argument("--workspace-bytes", type=int, help="builder workspace limit")
    sub.add_argument("--timing-cache", type=Path, help="read and updated where the flavour has one")
    sub.add_argument("--min-fp16", type=float, help="fail below this share of MACs in FP16 (0..1)")
    sub.add_argument("--tf32", action="store_true", help="allow TF32 in FP32 layers")
    sub.add_argument(
        "--version-compatible",
        action="store_true",
        help="the engine runs on later versions of TensorRT and on the lean runtime, too",
    )
    sub.add_argument(
        "--exclude-lean-runtime",
        action="store_true",
        help="such an engine without the lean runtime's 40 MB, which must then be where it runs",
    )
    sub.add_argument(
        "--hardware-compatible",
        choices=["ampere-plus", "same-capability"],
        help="the engine runs on GPUs of compute capability 8.0 and later, or of the same one, too",
    )
    sub.add_argument(
        "--strip-weights",
        action="store_true",
        help="leave the weights out; they come from the ONNX file when the engine is opened",
    )


def run(arguments: Arguments) -> Result:
    """Build, and say what the engines are made of."""
    from ...runtime.bundle import INDEX, is_folder
    from ...workflows import Compatibility, build_bundle, build_engine

    options: dict[str, Any] = {
        "runtime": arguments.runtime,
        "operators": arguments.operators,
        "workspace_bytes": arguments.workspace_bytes,
        "timing_cache_path": arguments.timing_cache,
        "min_fp16": arguments.min_fp16,
        "tf32": arguments.tf32,
        "compatibility": Compatibility(
            arguments.version_compatible,
            arguments.exclude_lean_runtime,
            arguments.hardware_compatible,
            arguments.strip_weights,
        ),
    }
    source = arguments.onnx
    if is_folder(source) or source.name == INDEX:
        folder = source.parent if source.name == INDEX else source
        reports = build_bundle(folder, arguments.out, on_step=say, **options)
        return {"bundle": str(arguments.out), "engines": [_told(report) for report in reports]}
    return _told(build_engine(source, arguments.out, **options))


def _shares(shares: dict[str, float]) -> str:
    """As "89.4% INT8, 10.6% FP16", the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{share:.1%} {name.upper()}" for name, share in ordered) or "none"


def _told(report: Any) -> Result:
    """Of one engine, a `BuildReport`."""
    network = report.network
    print(
        f"{report.engine_path}: {report.engine_path.stat().st_size / 1e6:.1f} MB, "
        f"{len(network.layers)} layers, MACs {_shares(network.mac_shares)}; "
        f"operators {report.operators}: {report.operators_reason}"
    )
    for line in (report.engine_words, *report.notes):
        print(f"  {line}")
    return {"engine": str(report.engine_path), "sidecar": str(report.sidecar_path)}
