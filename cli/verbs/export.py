"""`maskrt export`: a checkpoint as one verified ONNX file, or as a bundle of several."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_verb, canvases


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "export", "checkpoint -> verified ONNX", run)
    sub.add_argument("checkpoint", type=Path)
    sub.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that weights do not depend on, e.g. detections.nms_iou=0.3",
    )
    sub.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help=".onnx to write; without suffix a bundle, by default in both orientations",
    )
    sub.add_argument(
        "--precision",
        choices=["fp32", "fp16", "int8", "fp8"],
        help="of layers; int8 and fp8 leave the rest in fp16 (default: fp32)",
    )
    sub.add_argument(
        "--rest",
        choices=["fp16", "fp32"],
        help="int8, fp8: what everything else computes in (default: fp16; fp32 is for CPUs)",
    )
    sub.add_argument(
        "--canvas",
        type=canvases,
        metavar="HxW,HxW",
        help="multiples of 16 px, on a pyramid of 32, FastMask of 4; for a bundle several, "
        "portrait-landscape, or buckets (3:2, 4:3, 16:9 both ways and square)",
    )
    sub.add_argument("--batch", type=int, default=1)
    sub.add_argument("--proposals", type=int, help="proposal slots (default: the recipe's)")
    sub.add_argument("--detections", type=int, help="detection slots (default: the recipe's)")
    sub.add_argument(
        "--rules",
        default="even_bins",
        metavar="NAME,NAME",
        help="exact rewrites of the graph: all, none, or some of export/rules (even_bins)",
    )
    sub.add_argument(
        "--mixture", type=Path, metavar="FILE", help="precision file of search or bisect"
    )
    sub.add_argument(
        "--calibrate",
        type=Path,
        metavar="DATA",
        help="int8, fp8: labelled folder whose train pictures give the ranges of activations",
    )
    sub.add_argument(
        "--calibration-images",
        type=int,
        default=64,
        metavar="N",
        help="int8, fp8: only the first so many (default 64)",
    )
    sub.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="pictures and folders to verify and to measure FP16 headroom on (default: drawn)",
    )


def run(arguments: Arguments) -> Result:
    """Export, and say what the graphs hold and how far they agree with torch."""
    from ...workflows import export_checkpoint

    reports = export_checkpoint(
        arguments.checkpoint,
        arguments.out,
        arguments.precision,
        canvases=arguments.canvas,
        batch=arguments.batch,
        proposals=arguments.proposals,
        detections=arguments.detections,
        rules=arguments.rules,
        mixture=arguments.mixture,
        rest=arguments.rest,
        calibrate=arguments.calibrate,
        calibration_images=arguments.calibration_images,
        pictures=arguments.pictures,
        overrides=arguments.overrides,
    )
    graphs = [_told(report) for report in reports]
    return graphs[0] if arguments.out.suffix else _bundle_told(arguments.out, graphs)


def _told(report: Any) -> Result:
    """Of one graph, an `ExportReport`."""
    quantized = report.quantized
    print(f"{report.path}: {report.nodes} nodes, {report.contract.precision}; {report.agreement}")
    for outcome in (*report.rules, *filter(None, [quantized, report.headroom])):
        print(f"  {outcome}")
    if quantized is not None and quantized.warning:
        print(f"  warning: {quantized.warning}")
    return {
        "onnx": str(report.path),
        "nodes": report.nodes,
        "rules": {outcome.rule: dataclasses.asdict(outcome) for outcome in report.rules},
        "precision": report.contract.precision,
        "quantized": None
        if quantized is None
        else dataclasses.asdict(quantized) | {"warning": quantized.warning},
        "headroom": None if report.headroom is None else dataclasses.asdict(report.headroom),
        **dataclasses.asdict(report.verification),
    }


def _bundle_told(folder: Path, graphs: list[Result]) -> Result:
    from ...runtime.bundle import read_bundle

    index = read_bundle(folder)
    shared = 0 if index.weights is None else index.weights.bytes
    count = "1 canvas" if len(graphs) == 1 else f"{len(graphs)} canvases"
    print(
        f"{folder}: a bundle of {count}, {index.total_bytes / 1e6:.1f} MB, "
        f"{shared / 1e6:.1f} MB of it shared weights"
    )
    return {"bundle": str(folder), "bytes": index.total_bytes, "graphs": graphs}
