"""The custom operators, in every way that this machine can run them.

RoIAlign of proposals on maps and over pyramids of the recipes, and FastMask's windows; beside the
ways of this project stand ONNX Runtime's own RoiAlign and torchvision's. The protocol is
`eval/timing/operators.py`, the ways are `candidates.py`, what they run on is `cases.py`. What
cannot run here is listed with its reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...eval.report.plain import to_json
from ...eval.timing.operators import (
    OPTIONS,
    OperatorCase,
    bench_operator,
    cpu_bandwidth,
    operator_table,
)
from ...eval.timing.turns import BenchOptions
from ...runtime.gpu.cuda import missing_device
from .candidates import cores, gpu_bandwidth, ways
from .cases import CASES, Case
from .models import BASELINE

if TYPE_CHECKING:
    from ...eval import Table

OPERATOR_OPTIONS = OPTIONS
"""How long each case is timed unless told otherwise."""


@dataclass(frozen=True)
class OperatorBench:
    """What `bench_operators` measured."""

    cases: tuple[OperatorCase, ...]
    absent: dict[str, str]
    """Why a way could not run here, by its name."""
    bandwidths_bytes_per_s: dict[str, float]
    """Of copies, by device."""
    options: BenchOptions
    environment: dict[str, Any]

    @property
    def tables(self) -> tuple[Table, ...]:
        """One for each case."""
        speeds = self.bandwidths_bytes_per_s
        return tuple(operator_table(case, speeds, BASELINE) for case in self.cases)

    @property
    def failed(self) -> bool:
        """Whether an implementation's output is not the first one's."""
        return any(case.failures for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, all samples included."""
        return {
            "what": " ".join((__doc__ or "").split("\n\n")[0].split()),
            "commands": ["maskrt bench --operators --json"],
            "environment": self.environment,
            "threads": {"onnxruntime": cores(), "torch": _torch_threads()},
            "bandwidths_bytes_per_s": self.bandwidths_bytes_per_s,
            "options": dataclasses.asdict(self.options),
            "cases": to_json(self.cases),
            "absent": self.absent,
        }


def bench_operators(
    options: BenchOptions = OPERATOR_OPTIONS,
    cases: Sequence[Callable[[], Case]] = CASES,
    *,
    on_progress: Callable[[float, str], None] = lambda done, text: None,
) -> OperatorBench:
    """Check and time every case in every way that runs here.

    Args:
        options: how long for each case.
        cases: makers of cases, called one after the other.
        on_progress: told how much is done (0 to 1), and what is being timed.
    """
    from ...eval import environment

    bandwidths = {"cpu": cpu_bandwidth()}
    if missing_device() is None:
        bandwidths["cuda"] = gpu_bandwidth()
    results, absent = [], dict[str, str]()
    for number, make in enumerate(cases):
        tell = functools.partial(_tell, on_progress, number, len(cases))
        result, missing = _one_case(make(), options, bandwidths, tell)
        results.append(result)
        absent |= missing
    return OperatorBench(tuple(results), absent, bandwidths, options, environment())


def _one_case(
    case: Case,
    options: BenchOptions,
    bandwidths: dict[str, float],
    tell: Callable[[float, str], None],
) -> tuple[OperatorCase, dict[str, str]]:
    """Its gigabytes of buffers go before the next case makes its own."""
    with contextlib.ExitStack() as stack:
        runnable, missing = ways(case, stack)
        result = bench_operator(case.title, runnable, bandwidths, options, on_progress=tell)
    return result, missing


def _tell(
    on_progress: Callable[[float, str], None], number: int, count: int, done: float, text: str
) -> None:
    on_progress((number + done) / count, f"{number + 1} of {count}: {text}")


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
