"""`maskrt bench --operators`: both custom operators, in every way that this machine can run them.

RoIAlign of proposals on the maps of the shipped recipes, and FastMask's windows; beside the ways of
this project stand ONNX Runtime's own RoiAlign and torchvision's. The protocol is
`eval/operator_bench.py`, the ways are `operator_ways.py`: both stand at the repository root because
they bring together what all folders hold. What cannot run here is listed with its reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..engines.plugins.operator_config import RoiAlignCfg, WindowAlignCfg
from ..eval.timing.operators import (
    OPTIONS,
    bench_operator,
    cpu_bandwidth,
    operator_json,
    operator_table,
    proposal_boxes,
)
from ..eval.timing.runner import BenchOptions
from ..runtime.gpu.cuda import missing_device
from .operator_candidates import BASELINE, Case, cores, gpu_bandwidth, ways

STRIDE_PX = 16
FASTMASK_LEVELS = ((61, 82), (41, 55), (31, 41), (21, 28), (16, 21), (11, 14), (8, 11), (6, 7))
"""Of `fastmask_r39` on its 972x1300 canvas."""


def roi_align_case(
    map_shape: tuple[int, int, int, int], boxes: int, bin_step: int = 1, seed: int = 0
) -> Case:
    """RoIAlign of random proposals on one random map: 14 x 14 bins, 2 samples, stride 16."""
    cfg = RoiAlignCfg(output_size=14, sampling_ratio=2, bin_step=bin_step, stride_px=STRIDE_PX)
    batch, _, height, width = map_shape
    canvas_hw = (height * STRIDE_PX, width * STRIDE_PX)
    shown = "x".join(map(str, map_shape))
    step = "" if bin_step == 1 else f" with step {bin_step}"
    return Case(
        operator="MaskrtRoiAlign",
        title=f"MaskrtRoiAlign: map {shown}, {boxes} boxes, 14x14 bins{step}, 2 samples",
        cfg=cfg,
        first=np.random.default_rng(seed).uniform(-1, 1, map_shape).astype(np.float32),
        second=np.concatenate([proposal_boxes(boxes, canvas_hw, seed + i) for i in range(batch)]),
    )


def window_align_case(
    levels: Sequence[tuple[int, int]], channels: int, windows: int, seed: int = 0
) -> Case:
    """WindowAlign of random windows of 10 x 10 cells out of one random pyramid."""
    rng = np.random.default_rng(seed)
    cells = sum(h * w for h, w in levels)
    numbers = sum((h + 1) * (w + 1) for h, w in levels)
    return Case(
        operator="MaskrtWindowAlign",
        title=f"MaskrtWindowAlign: pyramid 1x{cells}x{channels}, {windows} windows, 10x10 cells",
        cfg=WindowAlignCfg(10, tuple(levels)),
        first=rng.uniform(-1, 1, (1, cells, channels)).astype(np.float32),
        second=rng.integers(numbers, size=(1, windows)),
    )


CASES: tuple[Callable[[], Case], ...] = (
    *(
        functools.partial(roi_align_case, (1, 256, 50, width), boxes)
        for width in (76, 84)
        for boxes in (300, 1000)
    ),
    functools.partial(roi_align_case, (1, 1024, 50, 84), 300, 2),
    functools.partial(window_align_case, FASTMASK_LEVELS, 128, 1000),
)
"""Made one after the other: the largest have gigabytes of outputs."""


def bench_operators(
    options: BenchOptions = OPTIONS, cases: Sequence[Callable[[], Case]] = CASES
) -> dict[str, Any]:
    """Time every case, print its table, and return all samples as JSON values.

    Returns:
        with `exit_code` 1 where an implementation's output is not the first one's.
    """
    from rich.console import Console

    from ..eval import environment, print_table

    facts, results = environment(), []
    absent: dict[str, str] = {}
    bandwidths = {"cpu": cpu_bandwidth()}
    if missing_device() is None:
        bandwidths["cuda"] = gpu_bandwidth()
    for number, make in enumerate(cases):
        case = make()
        with _progress(f"{number + 1} of {len(cases)}: ") as tell, contextlib.ExitStack() as stack:
            runnable, missing = ways(case, stack)
            result = bench_operator(case.title, runnable, bandwidths, options, on_progress=tell)
        del runnable  # gigabytes of buffers, before the next case makes its own
        absent |= missing
        results.append(result)
        print_table(operator_table(result, bandwidths, BASELINE), Console())
    for name, reason in absent.items():
        print(f"Not run here: {name}: {reason}.")
    return {
        "what": " ".join((__doc__ or "").split("\n\n")[0].split()),
        "commands": ["maskrt bench --operators --json"],
        "environment": facts,
        "threads": {"onnxruntime": cores(), "torch": _torch_threads()},
        "bandwidths_bytes_per_s": bandwidths,
        "options": dataclasses.asdict(options),
        "cases": [operator_json(result) for result in results],
        "absent": absent,
        "exit_code": 1 if any(result.failures for result in results) else 0,
    }


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


@contextlib.contextmanager
def _progress(before: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error while something runs; `before` stands before what is being done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(before, total=1.0)
        yield lambda done, text: progress.update(task, completed=done, description=before + text)
