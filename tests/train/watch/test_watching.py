"""Runs that are watched: evaluations, the best kept, an early end, pages, the hook, Ctrl-C."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrt.eval import load_coco
from maskrt.train import run_log
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.loop import train
from maskrt.train.recipes.recipe import Recipe, load_recipe
from maskrt.train.torch_session import open_checkpoint
from maskrt.train.watch.validation import Validation
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.tensors import load_metadata, load_tensors

MakeRecipe = Callable[..., Recipe]
STILL = (
    "solver.lr=0.0",
    "solver.window_momentum=1e-9",
    "model.norm=frozen",
    "solver.eval_every=1",
    "solver.batch=2",
    "solver.precision=fp32",
    "windows.objectness_batch=4",
    "windows.mask_batch=2",
    "input.long_side_px=352",
    "input.train_long_side_px=[320, 352]",
    "input.canvas_hw=[352, 352]",
)
"""Of the shipped FastMask, which finds something and stays as it is."""
SHIPPED = Path(run_log.__file__).parent / "checkpoints" / "fastmask_tiny.safetensors"

# TensorBoard 2.20 reads numpy attributes that numpy 2 renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def watched(recipe: Recipe, data: Path, out: Path, **options: Any) -> Validation:
    dataset, validation = CocoInstances(data, "train"), Validation(load_coco(data))
    train(recipe, dataset, out, workers=0, validation=validation, **options)
    return validation


@pytest.fixture
def still(shapes_folder: Path, tmp_path: Path) -> Callable[..., tuple[Validation, Path]]:
    """A run whose evaluations are all alike."""

    def run(*overrides: str, **options: Any) -> tuple[Validation, Path]:
        recipe, out = load_recipe("fastmask_tiny", [*STILL, *overrides]), tmp_path / "run"
        return watched(recipe, shapes_folder, out, weights=SHIPPED, **options), out

    return run


def test_a_run_keeps_its_best_and_tells_of_each_evaluation(
    still: Callable[..., tuple[Validation, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    validation, out = still("solver.steps=2", on_log=lambda *one: told.append(one))
    assert validation.accuracy is not None
    measured = validation.accuracy.measured
    best, result = (load_checkpoint(out / f"{name}.safetensors") for name in ("best", "model"))
    assert (best.steps, result.steps) == (1, 2)
    assert best.measured == result.measured == measured
    open_checkpoint(out / "best.safetensors").close()
    assert sorted(path.stem for path in out.glob("*.safetensors")) == ["best", "model", "resume"]
    rows = (out / "evaluations.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2"]
    assert [step for step, _ in told] == [1, 1, 2]
    assert told[0][1].keys() == {
        *("lr", "objectness", "mask", "attention", "total", "pictures_per_s"),
    }
    assert told[1][1] == {f"val_{name}": value for name, value in measured.items()}
    said = capsys.readouterr().err
    assert "step 1: mask AR@100 " in said
    assert ", the best so far" in said
    assert "Best: step 1, mask AR@100 " in said


def test_patience_ends_a_run_that_gains_nothing(
    still: Callable[..., tuple[Validation, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = still("solver.steps=50", "solver.patience=2")
    assert load_checkpoint(out / "model.safetensors").steps == 3
    assert "Ended early: 2 evaluations without a new best (solver.patience=2)" in (
        capsys.readouterr().err
    )
    still("solver.steps=50", "solver.patience=3", resume=True)
    assert load_checkpoint(out / "model.safetensors").steps == 4
    assert json.loads(load_metadata(out / "resume.safetensors")["overrides"]) == [
        "solver.patience=3"
    ]


def test_an_evaluation_that_was_cut_off_comes_again(
    still: Callable[..., tuple[Validation, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Validation.measure

    def stopped(self: Validation, path: Path, step: int, *, progress: bool) -> Any:
        if step == 2:
            raise KeyboardInterrupt
        return measure(self, path, step, progress=progress)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            still("solver.steps=3")
    _, out = still("solver.steps=3", resume=True)
    rows = (out / "evaluations.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3"]
    assert load_metadata(out / "best.safetensors")["maskrt.steps"] == "1"


def test_the_pages_show_batches_predictions_and_curves(
    still: Callable[..., tuple[Validation, Path]],
) -> None:
    _, out = still("solver.steps=3", "solver.eval_every=2")
    page = (out / "samples.html").read_text()
    assert page.count('<image id="given-') == 16
    assert [step in page for step in ("Step 1<", "Step 2<", "Step 3<")] == [False, True, True]
    assert [page.count(f'<image id="step{step}-') for step in (2, 3)] == [2, 2]
    report = (out / "report.html").read_text()
    assert "Accuracy on the val split" in report
    assert report.count("<svg xmlns") == 4  # recall over IoU is drawn three times
    assert "Training of fastmask_tiny" in report
    rows = json.loads((out / "report.json").read_text())["details"]["evaluations"]
    assert [row["step"] for row in rows] == [2, 3]


def test_without_the_extra_a_run_says_so_and_goes_on(
    still: Callable[..., tuple[Validation, Path]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    _, out = still("solver.steps=1")
    assert not list(out.glob("*.html"))
    assert "no samples.html and no report.html: report: jinja2 not installed" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_its_state_is_saved(
    tiny: MakeRecipe,
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    recipe, dataset = tiny("solver.steps=3"), CocoInstances(shapes_folder, "train")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(recipe, dataset, whole, workers=0, progress=False)
    write, handler = run_log.Log.write, signal.getsignal(signal.SIGINT)

    def interrupted(self: run_log.Log, now: int, *rest: Any) -> None:
        if now == 2:
            os.kill(os.getpid(), number)
        write(self, now, *rest)

    before = signal.signal(number, handler)  # as the command line does for both
    with monkeypatch.context() as patch:
        patch.setattr(run_log.Log, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, stopped, workers=0, progress=False)
    signal.signal(number, before)
    assert load_metadata(stopped / "resume.safetensors")["step"] == "2"
    assert load_checkpoint(stopped / "last.safetensors").steps == 2
    train(recipe, dataset, stopped, workers=0, progress=False, resume=True)
    one, other = (load_tensors(run / "model.safetensors")[0] for run in (whole, stopped))
    assert all(one[name].equal(other[name]) for name in one)
    assert not (stopped / "last.safetensors").exists()


def test_a_page_forgets_what_comes_again(
    still: Callable[..., tuple[Validation, Path]],
) -> None:
    _, out = still("solver.steps=2")
    page = (out / "samples.html").read_text()
    state = (out / "resume.safetensors").read_bytes()
    still("solver.steps=3", resume=True)
    longer = (out / "samples.html").read_text()
    assert longer.startswith(page[: page.index("<!-- step 2 -->")])
    (out / "resume.safetensors").write_bytes(state)
    still("solver.steps=3", resume=True)
    assert (out / "samples.html").read_text().count("<!-- step 3 -->") == 1
