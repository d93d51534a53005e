"""The stages of `tools/gpu`, most valuable first; and one of them in a process of its own.

    python -m maskrt.tools.gpu.stages NAME --out DIR --key KEY [--rehearse]

A process each, because a GPU that faults is lost to its process, and TensorRT may take the process
with it. `run.py` starts them; what a stage found goes to DIR/stages/NAME.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ...eval import Table, gpu_state, to_json
from ...runtime.errors import MaskRTError, first_line
from ...runtime.json_values import parse_json
from ...workflows import OPERATOR_OPTIONS, bench_operators, diagnose
from ...workflows.operators.cases import (
    CASES,
    pyramid_roi_align_case,
    roi_align_case,
    window_align_case,
)
from .networks import NETWORKS, bench_network, make_engines, make_onnx, profile_layers
from .record import ROOT, Found, NotRunError, Result, Setting, State, write_result

DEMO_PICTURES = 60
REHEARSED_PICTURES = 24
"""On 20 and fewer one instance moves AR@10 by more than the FP16 gate allows."""
OPERATOR_CALLS = dataclasses.replace(OPERATOR_OPTIONS, samples=10, warmup_seconds=1.0)
"""10 turns, the fewest that have an interval; on a GPU each is of 20 launches."""
REHEARSED_CALLS = dataclasses.replace(OPERATOR_OPTIONS, samples=2, warmup_calls=2)
REHEARSED_CASES = (
    functools.partial(roi_align_case, (1, 4, 20, 30), 9),
    functools.partial(pyramid_roi_align_case, (64, 96), 4, 9, 7, 2),
    functools.partial(window_align_case, ((9, 7), (4, 5)), 4, 9),
)
EXPORT = ("torch", "safetensors", "yaml", "onnx", "onnxscript", "onnxruntime")
"""What `export` imports."""

OTHERS_PACKAGE = re.compile("^ModuleNotFoundError: No module named '(?!maskrt)")


@dataclass(frozen=True)
class Stage:
    """One thing to measure."""

    name: str
    what: str
    run: Callable[[Setting], Found]
    packages: tuple[str, ...] = ()
    """Python packages without which it cannot run at all, as they are imported."""
    needs: tuple[str, ...] = ()
    """The stages whose files it takes, as far as they are there."""


def look(setting: Setting) -> Found:
    """What this machine can run, by `maskrt doctor`."""
    del setting
    findings = diagnose()
    rows = tuple((f.name, f.found if f.ok else f"missing: {f.found}; {f.fix}") for f in findings)
    table = Table("What this machine can run", ("name", "found"), rows, keys=1)
    return Found((table,), details={"findings": to_json(findings), "gpu_state": gpu_state()})


def run_tests(setting: Setting) -> Found:
    """The tests marked `gpu`: kernels, sessions, plugins, engines against their references."""
    written = (setting.out / "tests.xml").resolve()
    written.unlink(missing_ok=True)
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    options.append("--show-capture=no")
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={written}", "--rootdir"]
    command += [str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests")]
    subprocess.run(command, check=False)  # its exit code says less than the file
    if not written.exists():
        return Found(failures=("pytest ended without a word about any test",))
    found = read_tests(written)
    if not found.failures and not found.details["passed"]:
        raise NotRunError(found.absent)
    return found


def read_tests(junit_xml: Path) -> Found:
    """What pytest wrote of its tests; a file that cannot be read for a package did not run."""
    passed, absent, failures = [], {}, []
    for case in ElementTree.parse(junit_xml).iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        ends = [end for end in case if end.tag in ("failure", "error", "skipped")]
        lines = "\n".join(end.text or "" for end in ends).splitlines()
        said = " ".join(line[2:].strip() for line in lines if line[:2] == "E ")[:300]
        if not ends:
            passed.append(name)
        elif ends[0].tag == "skipped":
            absent[name] = str(ends[0].get("message"))
        elif OTHERS_PACKAGE.search(said):
            absent[name] = said
        else:
            failures.append(f"{name}: {said}")
    counted = f"{len(passed)} passed, {len(failures)} failed, {len(absent)} not run"
    return Found((), (counted,), absent, tuple(failures), {"passed": passed})


def time_operators(setting: Setting) -> Found:
    """Every custom operator in every way: kernels, torch, torchvision, ONNX Runtime."""
    options, cases = OPERATOR_CALLS, CASES
    if setting.rehearsal:
        options, cases = REHEARSED_CALLS, REHEARSED_CASES
    run = bench_operators(options, cases)
    failures = tuple(text for case in run.cases for text in case.failures)
    return Found(run.tables, (), run.absent, failures, run.to_json())


def demonstrate(setting: Setting) -> Found:
    """The whole chain with the shipped networks, its engines opened and gated."""
    pictures = REHEARSED_PICTURES if setting.rehearsal else DEMO_PICTURES
    from ...workflows import run_demo  # which Python 3.10 refuses

    demo = run_demo(setting.out / "demo", pictures, on_step=functools.partial(print, flush=True))
    failures = tuple(
        f"{hop.reference} to {hop.candidate}: {text}" for hop in demo.hops for text in hop.failures
    )
    details = parse_json(demo.report.with_suffix(".json").read_bytes())
    return Found(demo.tables, demo.summary, failures=failures, details=details)


def _network_stages(name: str) -> tuple[Stage, ...]:
    what, onnx, engines = NETWORKS[name].recipe, f"{name}-onnx", f"{name}-engines"

    def of(run: Callable[[str, Setting], Found]) -> Callable[[Setting], Found]:
        return functools.partial(run, name)

    return (
        Stage(onnx, f"{what} as ONNX files", of(make_onnx), EXPORT),
        Stage(engines, f"{what} as engines", of(make_engines), ("onnx",), (onnx,)),
        Stage(name, f"{what} in every way", of(bench_network), (), (onnx, engines)),
    )


STAGES = {
    stage.name: stage
    for stage in (
        Stage("environment", "what is here", look),
        Stage("tests", "the tests that need a GPU", run_tests, ("pytest",)),
        Stage(
            "operators",
            "RoIAlign, PyramidRoiAlign and WindowAlign in every way",
            time_operators,
            ("torch", "onnx", "onnxruntime"),
        ),
        Stage(
            "demo",
            "the shipped networks from checkpoint to engine",
            demonstrate,
            (*EXPORT, "pycocotools", "jinja2", "matplotlib"),
        ),
        *(stage for name in NETWORKS for stage in _network_stages(name)),
        Stage(
            "layers",
            "time of every layer of the engines",
            profile_layers,
            needs=tuple(f"{name}-engines" for name in NETWORKS),
        ),
    )
}
"""By name, in the order in which they run."""


def run_stage(stage: Stage, setting: Setting) -> Result:
    """Run it here; whatever it raises is its result."""
    started = time.perf_counter()
    found = Found()
    state: State = "failed"
    try:
        found = stage.run(setting)
        state, why = ("failed" if found.failures else "done"), "; ".join(found.failures)
    except NotRunError as err:
        state, why, found = "not run", str(err), Found(absent=err.absent)
    except Exception as err:
        traceback.print_exc()  # into the stage's log
        name = "" if isinstance(err, MaskRTError) else f"{type(err).__name__}: "
        why = f"{name}{first_line(err)}"
    return Result(stage.name, state, setting.key, time.perf_counter() - started, why, found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and keep what it found; 0 whatever that is."""
    parser = argparse.ArgumentParser(description="one stage of maskrt.tools.gpu")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args(argv)
    setting = Setting(arguments.out, arguments.rehearse, arguments.key)
    write_result(arguments.out, run_stage(STAGES[arguments.stage], setting))
    return 0


if __name__ == "__main__":
    sys.exit(main())
