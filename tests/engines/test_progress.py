from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from maskrt.cli.main import main
from maskrt.engines.builder import build_engine
from maskrt.engines.progress import BuildPhases, interruptible
from maskrt.runtime.errors import BuildError


def test_phases_may_reuse_names_and_end_early() -> None:
    progress = Progress(disable=True)
    phases = BuildPhases(progress, threading.Event())
    phases.start("Building", None, 3)
    for _ in range(2):
        phases.start("Tuning", "Building", 10)
        assert phases.step("Tuning", 4) is True
    assert [t.completed for t in progress.tasks] == [0, 5]
    phases.finish("Tuning")
    phases.finish("Tuning")
    phases.finish("Building")
    assert progress.tasks == []


def test_step_of_an_unknown_phase_goes_on() -> None:
    assert BuildPhases(Progress(disable=True), threading.Event()).step("never started", 0) is True


class Raising:
    """A progress display whose every call raises."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def add_task(self, *_: Any, **__: Any) -> None:
        raise self._error


def test_a_broken_bar_does_not_cancel_the_build() -> None:
    phases = BuildPhases(Raising(RuntimeError), threading.Event())
    phases.start("Building", None, 1)
    assert phases.step("Building", 0) is True


def test_the_next_step_after_an_interruption_cancels_the_build() -> None:
    stop = threading.Event()
    phases = BuildPhases(Progress(disable=True), stop)
    phases.start("Building", None, 2)
    assert phases.step("Building", 0) is True
    stop.set()
    assert phases.step("Building", 1) is False


def test_work_that_is_interrupted_is_told_and_waited_for() -> None:
    seen = []

    def work(stop: threading.Event) -> None:
        time.sleep(0.2)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # and no system call ends
        seen.append(stop.wait(20))
        raise BuildError("TensorRT gave up")

    with pytest.raises(KeyboardInterrupt):
        interruptible(work)
    assert seen == [True]


def test_work_in_its_thread_gives_and_raises_as_it_does() -> None:
    assert interruptible(lambda stop: stop.is_set()) is False
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda _: 1 // 0)


def test_bars_go_to_stderr_and_only_to_a_terminal(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    build_engine(tiny_onnx, engine)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\x1b[" in shown.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_real_build_ends_it_and_writes_nothing(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    answers = []
    step, once = BuildPhases.step, threading.Lock()

    def interrupted(self: BuildPhases, name: str, place: int) -> bool:
        if not once.acquire(blocking=False):  # TensorRT steps in several threads
            return step(self, name, place)
        os.kill(os.getpid(), number)
        self._stop.wait(20)  # the main thread has taken the signal
        answers.append(step(self, name, place))
        return answers[-1]

    monkeypatch.setattr(BuildPhases, "step", interrupted)
    engine = tiny_onnx.with_suffix(".engine")
    assert main(["build", str(tiny_onnx), "-o", str(engine)]) == 128 + number
    assert answers == [False]
    assert list(tiny_onnx.parent.glob("*.engine*")) == []
