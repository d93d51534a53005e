"""What `maskrt bench MODEL...` says beside its latency tables: one function for each.

Each adds a table or a sentence for people and values for the JSON. What a machine or a command line
does not ask for adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...eval import Accuracy, Bench, BenchOptions, Candidate, Table
    from ...eval.report.precision_map import PrecisionMap
    from ...eval.timing.regression import Earlier

BANDWIDTH_COPIES = 4
"""Of the copy that measures the CPU's; some hundred milliseconds each bench."""


@dataclass
class Findings:
    """What the run says beside its latencies."""

    tables: list[Table] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    """The tables' values for the JSON, raw samples included."""
    sentences: list[str] = field(default_factory=list)
    precision: tuple[PrecisionMap, ...] = ()
    """Of the files that are timed; on a page only."""
    failed: bool = False


@dataclass(frozen=True)
class Opened:
    """A file and the open model that is timed."""

    path: Path
    candidate: Candidate


def find_engines(findings: Findings, opened: Sequence[Opened]) -> None:
    """How TensorRT ran: recorded as a CUDA graph or not, in how much memory."""
    from ...runtime.gpu.picture_path import GpuPath
    from ...runtime.sessions.trt.session import TrtSession

    engines = {}
    for one in opened:
        session = one.candidate.predictor.session
        if isinstance(session, TrtSession):
            memory = session.device_memory_bytes
            engines[one.candidate.name] = {"graph": session.graph, "device_memory_bytes": memory}
            findings.sentences.append(
                f"{one.candidate.name}: CUDA graph {session.graph}; {memory / 1e6:.0f} MB of GPU "
                "memory beside its weights."
            )
            if isinstance(one.candidate.predictor.path, GpuPath):
                findings.sentences.append(
                    f"{one.candidate.name}: pictures on the GPU; its model time holds the wait for "
                    "their placing, so compare pipelines."
                )
    findings.details["engines"] = engines


def find_placement(findings: Findings, opened: Sequence[Opened], result: Bench) -> None:
    """Which provider of ONNX Runtime got which nodes, and the copies between them."""
    from ...eval import placement_of, placement_table, to_json

    all_rows = {
        one.candidate.name: placement_of(one.candidate.predictor.session, one.path)
        for one in opened
    }
    placements = {name: placement for name, placement in all_rows.items() if placement is not None}
    if placements:
        findings.tables.append(placement_table(result.backends, placements))
    findings.details["placement"] = {n: to_json(p) for n, p in placements.items()}


def find_floor(findings: Findings, opened: Sequence[Opened], result: Bench) -> None:
    """How far each row is from what this machine's measured peaks would allow."""
    from ...eval import floor_table, floors, to_json
    from .floor import works_of

    devices = {backend.device for backend in result.backends}
    bandwidths = {str(device): _bandwidth(device) for device in sorted(devices)}
    works = works_of([(one.path, one.candidate) for one in opened])
    found = floors(result.backends, works, result.peaks, bandwidths)
    uncounted = [one.candidate.name for one in opened if one.candidate.name not in works]
    if found:
        findings.tables.append(floor_table(found, result.peaks, bandwidths, uncounted))
    findings.details["floor"] = {
        "rows": [to_json(row) for row in found],
        "peaks": [to_json(peak) for peak in result.peaks],
        "bandwidths_bytes_per_s": bandwidths,
    }


def _bandwidth(device: str) -> float:
    if device == "cpu":
        from ...eval.timing.operators import cpu_bandwidth

        return cpu_bandwidth(copies=BANDWIDTH_COPIES)
    from ..operators.candidates import gpu_bandwidth

    return gpu_bandwidth()


def find_precision(findings: Findings, opened: Sequence[Opened]) -> None:
    """What each module of the timed files multiplies in."""
    from ..graph_precision import precision_maps

    findings.precision = precision_maps(one.path for one in opened)


def find_throughput(
    findings: Findings,
    opened: Sequence[Opened],
    images: Sequence[Any],
    streams: int | None,
    options: BenchOptions,
) -> None:
    """Pictures per second of one stream and of `streams`; nothing where that is None."""
    if streams is None:
        return
    from ...eval import measure_throughput, throughput_table, to_json

    found = measure_throughput([one.candidate for one in opened], images, streams, options)
    findings.tables.append(throughput_table(found))
    findings.details["throughput"] = [to_json(load) for load in found]


def find_trtexec(findings: Findings, opened: Sequence[Opened], result: Bench) -> None:
    """After all models are closed: the GPU is the tool's alone."""
    from ...eval import check_engines, to_json, trtexec_table
    from ...eval.timing.trtexec_check import ABSENT

    engines = {one.candidate.name: one.path for one in opened if one.path.suffix == ".engine"}
    checks = check_engines(result, engines)
    if checks is None:
        findings.sentences.append(ABSENT)
    elif checks:
        findings.tables.append(trtexec_table(checks))
        findings.details["trtexec"] = [to_json(check) for check in checks]


def find_regression(
    findings: Findings,
    earlier: Earlier | None,
    result: Bench,
    facts: dict[str, Any],
    allowed: float | None,
) -> None:
    """What became slower since an earlier run; nothing without one."""
    if earlier is None:
        return
    from ...eval import ALLOWED, compare_runs, regression_table, to_json

    regression = compare_runs(earlier, result, facts, allowed or ALLOWED)
    findings.tables.append(regression_table(regression))
    findings.details["regression"] = to_json(regression)
    findings.failed = regression.failed


def find_recommendation(findings: Findings, result: Bench, accuracies: Sequence[Accuracy]) -> None:
    """Which session to take here; with a GPU the table says it."""
    from ...eval import has_gpu, recommendations

    if not has_gpu():
        findings.sentences += recommendations(result, accuracies)
