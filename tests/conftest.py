"""One very narrow network through the whole chain, once per run, by the command line itself."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maskrt.cli.main import main
from maskrt.tools.page.chromium import Browser, browser, chromium_path

RECIPE = "lsc_mask_rcnn_tiny"
NARROW = (
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1,1,1,1]",
    "model.separable_channels=8",
    "model.subnet_mid_channels=8",
    "model.subnet_channels=8",
    "model.mask_channels=8",
    "input.canvas_hw=[64,64]",
    "input.short_side_px=64",
    "input.long_side_px=64",
    "input.train_short_sides_px=[64]",
    "proposals.pre_nms_test=48",
    "proposals.post_nms_test=16",
    "detections.candidates=32",
    "detections.per_image=8",
    "solver.steps=2",
    "solver.batch=2",
    "solver.warmup_steps=0",
    "solver.precision=fp32",
)
"""Seconds to export and build, and every layer of the family is still there."""
DEMO_PICTURES = 24
"""Of the demo's default of 60. On 20 and fewer one instance moves FP16's AR@10 by 0.37 points."""


@dataclass(frozen=True)
class Chain:
    """The files of one untrained network; read them, never change them."""

    checkpoint: Path
    onnx: Path
    onnx_fp16: Path
    engine: Path
    """Built from `onnx_fp16` by TensorRT-RTX, which needs no GPU."""
    other_engine: Path
    """Built from `onnx`."""
    recipe: tuple[str, ...]
    """A recipe's name and overrides, as `maskrt new` and `train` take them."""
    data: Path
    """A shapes data set of 4 train and 3 val pictures."""


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output."""
        assert self.out, self.err
        read: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return read


def pytest_configure() -> None:
    """xdist's workers ignore Ctrl-C; the tests of it expect Python's own handler."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chain",
        type=Path,
        metavar="DIR",
        help="keep the chain's files there, or take them from there: a Python without torch can",
    )


@pytest.fixture(scope="session")
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    kept: Path | None = request.config.getoption("--chain")
    folder = kept or tmp_path_factory.mktemp("chain")
    made = Chain(
        folder / "net.safetensors",
        folder / "net.onnx",
        folder / "net16.onnx",
        folder / "net16.engine",
        folder / "net.engine",
        (RECIPE, *NARROW),
        folder / "shapes",
    )
    if kept is not None and kept.exists():
        return made
    commands: tuple[tuple[Any, ...], ...] = (
        ("new", *made.recipe, "-o", made.checkpoint),
        ("export", made.checkpoint, "-o", made.onnx),
        ("export", made.checkpoint, "-o", made.onnx_fp16, "--precision", "fp16"),
        ("build", made.onnx_fp16, "-o", made.engine),
        ("build", made.onnx, "-o", made.other_engine),
        ("data", "shapes", "--out", made.data, "--images", 4, "--val-images", 3),
    )
    for command in commands:
        assert main([str(word) for word in command]) == 0, command
    return made


@pytest.fixture
def maskrt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `maskrt WORD...` in this process; bad usage gives code 2 as it does for a shell."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as err:  # argparse
            code = int(err.code or 0)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium, where there is one."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine")
    with browser(path) as opened:
        yield opened


@dataclass(frozen=True)
class DemoRun:
    """What `maskrt demo` left, once per run of the tests; read it, never change it."""

    out: Path
    """Its folder: NAME-fp32.onnx, NAME-fp16.onnx, NAME-fp16.engine, report.html, pictures."""
    data: Path
    """The drawn val pictures that it measured on."""
    ran: Ran


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The main job through the command line, on few pictures and with few calls timed."""
    from maskrt.eval import BenchOptions

    short = BenchOptions(samples=4, warmup_calls=2)
    out, printed, told = tmp_path_factory.mktemp("demo"), io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(told),
    ):
        patch.setattr("maskrt.eval.quick_options", lambda: short)
        code = main(["demo", "--out", str(out), "--images", str(DEMO_PICTURES), "--json"])
    ran = Ran(code, printed.getvalue(), told.getvalue())
    assert code != 2, ran.err
    return DemoRun(out, out / f"shapes-{DEMO_PICTURES}", ran)


@pytest.fixture
def changed_copy() -> Callable[[Path, Path, Callable[[dict[str, Any]], None]], Path]:
    """Writes a checkpoint and its recipe again, its tensors changed in place by a function."""
    from maskrt.train.weights.tensors import load_tensors, save_tensors

    def write(path: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
        tensors, metadata = load_tensors(path)
        change(tensors)
        save_tensors(copy, tensors, metadata)
        copy.with_suffix(".yaml").write_bytes(path.with_suffix(".yaml").read_bytes())
        return copy

    return write
