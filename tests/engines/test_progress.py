from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

from maskrt.engines.builder import build_engine
from maskrt.engines.progress import BuildPhases
from maskrt.runtime.errors import BuildError


def test_phases_may_reuse_names_and_end_early() -> None:
    progress = Progress(disable=True)
    phases = BuildPhases(progress)
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
    assert BuildPhases(Progress(disable=True)).step("never started", 0) is True


class Raising:
    """A progress display whose every call raises."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def add_task(self, *_: Any, **__: Any) -> None:
        raise self._error


def test_a_broken_bar_does_not_cancel_the_build() -> None:
    phases = BuildPhases(Raising(RuntimeError))
    phases.start("Building", None, 1)
    assert phases.step("Building", 0) is True


def test_ctrl_c_in_a_callback_stops_the_build_without_raising_into_tensorrt() -> None:
    phases = BuildPhases(Raising(KeyboardInterrupt))
    phases.start("Building", None, 1)
    assert phases.step("Building", 0) is False
    assert phases.interrupted


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


def test_ctrl_c_during_a_real_build_leaves_as_ctrl_c_and_writes_nothing(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "add_task", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"))
    assert isinstance(caught.value.__context__, BuildError)
    assert list(tiny_onnx.parent.glob("*.engine*")) == []
