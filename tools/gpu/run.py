"""All that only a GPU can show, in one command: stage by stage into one record and one page.

    python -m maskrt.tools.gpu [STAGE ...] [--out out/gpu] [--limit-s 600] [--rehearse]

Each stage runs in a process of its own under a limit of time, most valuable first. What is done is
not done again until code or machine change; what failed or was not run is tried again. A stage that
fails does not stop the others. What cannot run here is in the record with its reason.

`--rehearse` runs the same stages on any machine, with small networks in place of the full-size ones
and few calls.

Exit codes: 0, 1 where a stage failed, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...eval import markdown
from ...runtime.errors import InputError, MaskRTError, SessionError
from ...runtime.files import write_error
from ...runtime.gpu.cuda import missing_device
from .record import (
    Result,
    Setting,
    machine,
    read_result,
    run_key,
    stage_table,
    write_record,
    write_result,
)
from .stages import STAGES, Stage

LIMIT_S = 600
"""A stage takes three minutes at most on a data-centre GPU; smaller ones take longer."""
LOG_LINES = 3
"""Of the log of a stage that ended without a word."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages and write the record; prints where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), help="folder (out/gpu)")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds a stage may take")
    parser.add_argument("--rehearse", action="store_true", help="small networks, without a GPU too")
    arguments = parser.parse_args(argv)
    words = ["python", "-m", "maskrt.tools.gpu", *(sys.argv[1:] if argv is None else argv)]
    try:
        stages = planned(arguments.stages)
        if not arguments.rehearse:
            _require_gpu(stages)
        facts = machine()
        key = run_key(facts, arguments.rehearse)
        setting = Setting(arguments.out, arguments.rehearse, key)
        results = run_stages(stages, setting, facts, arguments.limit_s, shlex.join(words))
    except MaskRTError as err:
        print(f"gpu: {err}", file=sys.stderr)
        return err.exit_code
    return int(any(result.state == "failed" for result in results))


def planned(names: Sequence[str]) -> list[Stage]:
    """The stages asked for, all where none is, with those whose files they take; in their order.

    Raises:
        InputError: there is no such stage.
    """
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise InputError(
            f"stage '{unknown[0]}': unknown; expected {', '.join(STAGES)}. Name one of these."
        )
    asked = set(names or STAGES)
    for stage in reversed(STAGES.values()):  # what one takes comes before it
        if stage.name in asked:
            asked |= set(stage.needs)
    return [stage for stage in STAGES.values() if stage.name in asked]


def _require_gpu(stages: Sequence[Stage]) -> None:
    missing = missing_device()
    if missing is not None:
        raise SessionError(
            f"no NVIDIA GPU can be used here ({missing}); expected one. Not run: "
            f"{', '.join(stage.name for stage in stages)}. Run it on a machine with an NVIDIA GPU, "
            "or add --rehearse to try the stages without one."
        )


def run_stages(
    stages: Sequence[Stage],
    setting: Setting,
    facts: dict[str, Any],
    limit_s: float,
    command: str,
) -> list[Result]:
    """Run what is not done yet, and write the record of all that is after each.

    Args:
        stages: in their order.
        setting: of all of them.
        facts: of `machine`, for the record.
        limit_s: how long a stage may take.
        command: what to type to get this again, for the record.

    Returns:
        How those of `stages` ended.

    Raises:
        InputError: the folder cannot be written.
    """
    ended, files = [], list[Path]()
    for stage in stages:
        result = read_result(setting.out, stage.name, setting.key)
        if result is not None and result.state == "done":
            print(f"{result}, already", flush=True)
        else:
            result = _ran(stage, setting, limit_s)
            print(result, flush=True)
        ended.append(result)
        kept = [read_result(setting.out, name, setting.key) for name in STAGES]
        files = write_record(setting, [one for one in kept if one is not None], facts, command)
    print(f"\n{markdown(stage_table(ended))}")
    print(f"Record: {', '.join(map(str, files))}")
    return ended


def _ran(stage: Stage, setting: Setting, limit_s: float) -> Result:
    """Run a stage in its process, and keep its result if it did not do so itself."""
    missing = [name for name in stage.packages if find_spec(name) is None]
    if missing:
        return _kept(setting, Result(stage.name, "not run", setting.key, 0.0, _without(missing)))
    log = setting.out / "logs" / f"{stage.name}.log"
    print(f"{stage.name}: {stage.what} (log: {log})", flush=True)
    # in its place: an earlier result must not be taken for this run's
    _kept(setting, Result(stage.name, "failed", setting.key, 0.0, "it was interrupted"))
    started = time.perf_counter()
    words = [sys.executable, "-m", f"{__package__}.stages", stage.name]
    words += ["--out", str(setting.out), "--key", setting.key]
    ended = _run_process([*words, *["--rehearse"] * setting.rehearsal], log, limit_s)
    if ended is not None:
        seconds = time.perf_counter() - started
        return _kept(setting, Result(stage.name, "failed", setting.key, seconds, ended))
    result = read_result(setting.out, stage.name, setting.key)
    assert result is not None, "the process has just written it"
    return result


def _without(packages: list[str]) -> str:
    return f"not installed: {', '.join(packages)}"


def _kept(setting: Setting, result: Result) -> Result:
    write_result(setting.out, result)
    return result


def _run_process(words: Sequence[str], log: Path, limit_s: float) -> str | None:
    """None where it ended well, else how it ended and its last words; its children end with it."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("wb")
    except OSError as err:
        raise write_error(log, err) from err
    with stream:
        process = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit_s:.0f} s{_last_words(log)}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code == 0:
        return None
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"ended by {how}{_last_words(log)}"


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()][-LOG_LINES:]
    return f"; it said last: {' / '.join(said)[:500]}" if said else ""
