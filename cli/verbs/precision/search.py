"""`maskrt search`: the fastest precision of every node group that holds a gate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...arguments import Arguments, Result, add_data, add_verb, read_data
from ...output import say

if TYPE_CHECKING:
    from ....workflows.search.search import Searched


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "the fastest precision of every node group that holds a gate, with a certificate"
    sub = add_verb(verbs, "search", text, run)
    add_searched(sub, metric="ap")
    sub.add_argument(
        "--precisions",
        default="fp32,fp16,int8",
        metavar="P,P",
        help="that may be chosen, of fp32, fp16, int8 and fp8 (default fp32,fp16,int8)",
    )
    sub.add_argument(
        "--gpu",
        help="whose data sheet gives times: a name of inspect --gpu, or a YAML file (default l4; "
        "none with --session)",
    )
    sub.add_argument(
        "--profile",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="measured times in its place: JSON of engines.layers.layer_profile, one a precision",
    )
    sub.add_argument(
        "--calibrate",
        type=Path,
        metavar="DATA",
        help="labelled folder whose train pictures give INT8 and FP8 their ranges (--data)",
    )
    sub.add_argument("--calibration-images", type=int, default=64, metavar="N", help="(default 64)")
    sub.add_argument(
        "--verify",
        type=Path,
        nargs="+",
        default=(),
        metavar="DATA",
        help="other labelled folders that the result is measured on, for the certificate",
    )
    sub.add_argument(
        "--session",
        help="run candidates in a session of .onnx files, as openvino (default: ONNX Runtime's "
        "CPU, every tensor rounded as the file says)",
    )
    sub.add_argument("--html", type=Path, metavar="FILE", help="a page with all that was tried")
    sub.add_argument(
        "--write", type=Path, metavar="FILE", help=".onnx to write, of a graph that is not ours"
    )


def add_searched(sub: argparse.ArgumentParser, metric: str) -> None:
    """What `search` and `bisect` have in common."""
    sub.add_argument(
        "model", type=Path, help="checkpoint, its FP32 export (.onnx or a bundle), or any .onnx"
    )
    add_data(sub)
    sub.add_argument(
        "--metric",
        default=metric,
        metavar="NAME",
        help="ap: change of AP, of proposals AR; instances: matched ones; or FILE.py:FUNCTION, "
        f"which judges any ONNX file (default {metric})",
    )
    sub.add_argument(
        "--gate",
        type=float,
        help="greatest change in points (0.3), least matched share (0.98), or greatest loss of a "
        "function's number",
    )
    sub.add_argument("-o", "--out", type=Path, required=True, help=".json for export --mixture")


def run(arguments: Arguments) -> Result:
    """Search, and print what was found."""
    from ....workflows import search_precision
    from ....workflows.data import load_data
    from ....workflows.search.options import Calibrating

    data = read_data(arguments)
    done = search_precision(
        arguments.model,
        arguments.out,
        data,
        arguments.metric,
        arguments.gate,
        precisions=arguments.precisions.split(","),
        gpu=arguments.gpu or (None if arguments.session else "l4"),
        profiles=arguments.profile,
        calibrating=Calibrating(arguments.calibrate, arguments.calibration_images),
        verify=[load_data(folder, arguments.split, arguments.first) for folder in arguments.verify],
        html=arguments.html,
        write=arguments.write,
        session=arguments.session,
        on_step=say,
    )
    return told(done)


def told(done: Searched) -> Result:
    """What was found, printed and as JSON."""
    import dataclasses

    from ....workflows.search.page import told as sentences

    certificate = done.certificate
    for line in sentences(certificate):
        print(line)
    for name, kept in certificate.kept.items():
        print(f"  {name} ({kept.mac_share:.1%} of MACs) stays {kept.precision.upper()}: {kept.why}")
    print(
        f"{done.path}: {certificate.evaluations} candidates on all pictures, "
        f"{certificate.few_evaluations} on a few, {done.seconds:.0f} s"
    )
    return {
        "precision_file": str(done.path),
        "kept": sorted(certificate.kept),
        "mac_shares": certificate.mac_shares,
        "total_ms": certificate.total_ms,
        "times": certificate.times,
        "sets": [dataclasses.asdict(measured) for measured in certificate.sets],
        "fastest": certificate.fastest,
        "evaluations": certificate.evaluations,
        "few_evaluations": certificate.few_evaluations,
        "known": done.known,
        "seconds": done.seconds,
    }
