"""Runs repeat themselves, resume where they were cut off, and stop with a sentence."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import InputError, TrainError
from maskrt.train import loop
from maskrt.train.loop import learning_rate, train
from maskrt.train.recipes.recipe import Recipe
from maskrt.train.recipes.sections import SolverConfig
from maskrt.train.weights.checkpoint import load_checkpoint, load_tensors, new_checkpoint

MakeRecipe = Callable[..., Recipe]

SHORT = (
    "solver.steps=5",
    "solver.checkpoint_every=2",
    "solver.schedule=cosine",
    "input.color_jitter=0.2",
)

# TensorBoard 2.20 reads numpy attributes that numpy 2 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")


def run(recipe: Recipe, data: Path, out: Path, **options: object) -> Path:
    return train(recipe, data, out, workers=0, progress=False, **options)  # type: ignore[arg-type]


def logged(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def same_weights(first: Path, second: Path) -> bool:
    one, other = load_tensors(first)[0], load_tensors(second)[0]
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def cut_off_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while this step is logged."""
    write = loop.Log.write

    def interrupted(self: loop.Log, now: int, rate: float, terms: dict[str, float]) -> None:
        if now == step:
            raise KeyboardInterrupt
        write(self, now, rate, terms)

    monkeypatch.setattr(loop.Log, "write", interrupted)


def test_a_resumed_run_repeats_the_uninterrupted_one(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*SHORT, "solver.ema_decay=0.5")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    run(recipe, shapes_folder, whole)
    with monkeypatch.context() as patch:
        cut_off_at(4, patch)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, shapes_folder, cut)
    assert [row["step"] for row in logged(cut)] == ["1", "2", "3"]
    assert load_tensors(cut / "resume.safetensors")[1]["step"] == "2"
    assert not (cut / "model.safetensors").exists()
    path = run(recipe, shapes_folder, cut, resume=True)
    assert [row["step"] for row in logged(whole)] == ["1", "2", "3", "4", "5"]
    assert logged(cut) == logged(whole)  # nine digits of every loss
    assert same_weights(path, whole / "model.safetensors")
    assert load_checkpoint(path).steps == 5


def test_a_run_leaves_a_checkpoint_and_logs(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    path = run(tiny(*SHORT, "solver.steps=1"), shapes_folder, out)
    assert path == out / "model.safetensors"
    assert load_checkpoint(path).steps == 1
    names = {p.name.split(".")[0] for p in out.iterdir()}
    assert names == {"model", "resume", "log", "events"}
    (row,) = logged(out)
    assert float(row["lr"]) == pytest.approx(0.5 * 0.02)  # warm-up starts at half of it
    losses = ["rpn_objectness", "rpn_box", "box_class", "box_delta", "mask"]
    assert list(row) == ["step", "lr", *losses]
    assert all(math.isfinite(float(row[name])) for name in losses)


def test_training_starts_from_a_given_backbone(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    recipe = tiny(*SHORT, "solver.steps=1", "solver.lr=0.0")
    given = tmp_path / "given.safetensors"
    new_checkpoint(tiny("solver.seed=4"), given)
    trained = load_checkpoint(run(recipe, shapes_folder, tmp_path / "run", backbone=given)).model
    wanted = load_checkpoint(given).model
    assert torch.equal(trained.backbone.stem.conv1.weight, wanted.backbone.stem.conv1.weight)
    assert not torch.equal(trained.rpn.conv.weight, wanted.rpn.conv.weight)


def test_a_diverged_loss_stops_the_run(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    wild = tiny(*SHORT, "solver.lr=1e+30", "solver.clip_norm=0.0")
    with pytest.raises(TrainError, match=r"step \d: the loss is (nan|inf); training diverged"):
        run(wild, shapes_folder, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_other_classes_are_refused(tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its \d+ categories are .*expects \['cat', 'dog'\]"):
        run(tiny("classes=[cat, dog]"), shapes_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_data_set_is_refused(tiny: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no 'train' split"):
        run(tiny(), tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_overwritten(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    recipe = tiny(*SHORT, "solver.steps=1")
    path = run(recipe, shapes_folder, tmp_path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="already holds a run; continue it with --resume"):
        run(recipe, shapes_folder, tmp_path)
    assert path.read_bytes() == before


def test_nothing_to_resume_is_an_error(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"resume\.safetensors: no such file"):
        run(tiny(), shapes_folder, tmp_path / "run", resume=True)


def test_a_run_is_not_resumed_with_another_recipe(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    run(tiny(*SHORT, "solver.steps=1"), shapes_folder, tmp_path)
    with pytest.raises(TrainError, match=r"a run of recipe 'lsc_mask_rcnn_tiny'; expected 'other'"):
        run(tiny("name=other"), shapes_folder, tmp_path, resume=True)


def test_a_run_of_other_widths_is_not_resumed(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    run(tiny(*SHORT, "solver.steps=1"), shapes_folder, tmp_path)
    with pytest.raises(
        TrainError, match=r"weights of another network \(size mismatch for mask_head"
    ):
        run(tiny(*SHORT, "model.mask_channels=16"), shapes_folder, tmp_path, resume=True)


@pytest.mark.parametrize("name", ["fastmask_tiny", "deepmask_tiny"])
def test_proposal_networks_train_and_resume(
    name: str,
    proposer: MakeRecipe,
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = proposer(name, "solver.steps=2", "solver.checkpoint_every=1", "model.dropout=0.5")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    run(recipe, shapes_folder, whole)
    with monkeypatch.context() as patch:
        cut_off_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, shapes_folder, cut)
    path = run(recipe, shapes_folder, cut, resume=True)
    assert logged(cut) == logged(whole)
    assert same_weights(path, whole / "model.safetensors")
    losses = ["objectness", "mask"] + (["attention"] if name == "fastmask_tiny" else [])
    assert list(logged(whole)[0]) == ["step", "lr", *losses]
    trained, untrained = load_checkpoint(path), tmp_path / "untrained.safetensors"
    new_checkpoint(recipe, untrained)
    assert (trained.steps, trained.recipe.class_names) == (2, ("object",))
    assert not same_weights(path, untrained)


STEPS = SolverConfig(lr=2.0, steps=100, warmup_steps=10, warmup_factor=0.1, milestones=(60, 80))
COSINE = SolverConfig(lr=2.0, steps=100, warmup_steps=10, warmup_factor=0.1, schedule="cosine")


@pytest.mark.parametrize(
    ("solver", "step", "rate"),
    [
        (STEPS, 0, 0.2),
        (STEPS, 5, 1.1),
        (STEPS, 10, 2.0),
        (STEPS, 59, 2.0),
        (STEPS, 60, 0.2),
        (STEPS, 79, 0.2),
        (STEPS, 80, 0.02),
        (STEPS, 99, 0.02),
        (COSINE, 0, 0.2),
        (COSINE, 50, 1.0),
        (COSINE, 75, 1 - math.sqrt(0.5)),
        (COSINE, 100, 0.0),
        (SolverConfig(lr=2.0, warmup_steps=0), 0, 2.0),
    ],
)
def test_learning_rate(solver: SolverConfig, step: int, rate: float) -> None:
    assert learning_rate(solver, step) == pytest.approx(rate, abs=1e-12)
