"""Runs repeat themselves, resume where they were cut off, and stop with a sentence."""

import csv
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maskrt.runtime.errors import ConfigError, InputError, TrainError
from maskrt.train import run_log
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.loop import train
from maskrt.train.recipes.recipe import Recipe, dump_recipe, load_recipe
from maskrt.train.run_state import resumed_recipe
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint
from maskrt.train.weights.tensors import load_metadata, load_tensors

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
    dataset = CocoInstances(data, "train")
    return train(recipe, dataset, out, workers=0, progress=False, **options)  # type: ignore[arg-type]


def logged(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def same_weights(first: Path, second: Path) -> bool:
    one, other = load_tensors(first)[0], load_tensors(second)[0]
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Killed(BaseException):
    """The machine is gone."""


def cut_off_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of everything while this step is logged."""
    write = run_log.Log.write

    def interrupted(self: run_log.Log, now: int, *rest: Any) -> None:
        if now == step:
            raise Killed
        write(self, now, *rest)

    monkeypatch.setattr(run_log.Log, "write", interrupted)


def run_and_cut(
    recipe: Recipe, data: Path, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A whole run and one that was cut off, every step of both logged."""
    whole, cut = folder / "whole", folder / "cut"
    monkeypatch.setattr(run_log, "LOG_EVERY", 1)
    run(recipe, data, whole)
    with monkeypatch.context() as patch:
        cut_off_at(step, patch)
        with pytest.raises(Killed):
            run(recipe, data, cut)
    return whole, cut


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_repeats_the_uninterrupted_one(
    tiny: MakeRecipe,
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    recipe = tiny(*SHORT, "solver.ema_decay=0.5", f"solver.precision={precision}")
    whole, cut = run_and_cut(recipe, shapes_folder, tmp_path, 4, monkeypatch)
    assert [row["step"] for row in logged(cut)] == ["1", "2", "3"]
    assert load_metadata(cut / "resume.safetensors")["step"] == "2"
    assert not (cut / "model.safetensors").exists()
    assert load_recipe(cut / "model.yaml").solver == recipe.solver
    path = run(recipe, shapes_folder, cut, resume=True)
    assert [row["step"] for row in logged(whole)] == ["1", "2", "3", "4", "5"]
    assert logged(cut) == logged(whole)  # nine digits of every loss
    assert same_weights(path, whole / "model.safetensors")
    state = [folder / "resume.safetensors" for folder in (cut, whole)]
    assert same_weights(*state)
    assert load_metadata(state[0])["scaler"] == load_metadata(state[1])["scaler"]
    assert load_checkpoint(path).steps == 5


def test_a_run_leaves_a_checkpoint_and_logs(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    path = run(tiny(*SHORT, "solver.steps=1"), shapes_folder, out)
    assert path == out / "model.safetensors"
    assert load_checkpoint(path).steps == 1
    names = {p.name.split(".")[0] for p in out.iterdir()}
    events = {"events"} if importlib.util.find_spec("tensorboard") else set()
    assert names == {"model", "resume", "log"} | events
    (row,) = logged(out)
    assert float(row["lr"]) == pytest.approx(0.5 * 0.02)  # warm-up starts at half of it
    losses = ["rpn_objectness", "rpn_box", "box_class", "box_delta", "mask"]
    assert list(row) == ["step", "lr", *losses]
    assert all(math.isfinite(float(row[name])) for name in losses)


def test_without_tensorboard_the_csv_has_the_numbers(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    run(tiny(*SHORT, "solver.steps=1"), shapes_folder, tmp_path)
    names = {p.name.split(".")[0] for p in tmp_path.iterdir()}
    assert names == {"model", "resume", "log"}
    assert len(logged(tmp_path)) == 1


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
    with pytest.raises(TrainError, match=r"step \d: the loss is infinite or NaN; training diver"):
        run(wild, shapes_folder, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_other_classes_are_refused(tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"; only in the model: cat, dog\. Leave"):
        run(tiny("classes=[cat, dog]"), shapes_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def begun(tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path) -> Path:
    """The folder of a run of one step."""
    run(tiny(*SHORT, "solver.steps=1"), shapes_folder, tmp_path / "begun")
    return tmp_path / "begun"


def test_a_missing_data_set_is_refused(tiny: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: no such folder"):
        run(tiny(), tmp_path / "nothing", tmp_path / "run")
    with pytest.raises(InputError, match="no known layout; found nothing"):
        run(tiny(), tmp_path, tmp_path / "run")
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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("name=other", "name='lsc_mask_rcnn_tiny'; found 'other'"),
        ("model.mask_channels=16", "model.mask_channels=8; found 16"),
        ("model.freeze_at=2", "model.freeze_at=0; found 2"),
        ("solver.batch=4", "solver.batch=2; found 4"),
        ("solver.lr=0.5", "solver.lr=0.02; found 0.5"),
        ("solver.seed=7", "solver.seed=0; found 7"),
        ("solver.momentum=0.5", "solver.momentum=0.9; found 0.5"),
        ("solver.ema_decay=0.5", "solver.ema_decay=0.0; found 0.5"),
    ],
)
def test_a_run_is_not_resumed_with_another_recipe(
    tiny: MakeRecipe, shapes_folder: Path, begun: Path, override: str, said: str
) -> None:
    before = {path.name: path.read_bytes() for path in begun.iterdir()}
    with pytest.raises(TrainError, match=f"a run with {said}. Resume without it"):
        run(tiny(*SHORT, override), shapes_folder, begun, resume=True)
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == before


def test_a_run_goes_on_with_what_it_was_started_with(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "narrow.yaml", tmp_path / "run"
    file.write_text(dump_recipe(tiny(*SHORT)))
    words = ("solver.steps=1", "solver.lr=0.5")
    run(load_recipe(file, words), shapes_folder, out, overrides=words)
    state = out / "resume.safetensors"
    recipe = resumed_recipe(state, file)
    assert (recipe.solver.steps, recipe.solver.lr) == (1, 0.5)
    longer = resumed_recipe(state, file, ["solver.steps=2"])
    assert load_checkpoint(run(longer, shapes_folder, out, resume=True)).steps == 2
    assert resumed_recipe(state, file) == longer  # said once
    with pytest.raises(TrainError, match=r"2 steps are done; expected solver\.steps=1 to be more"):
        run(resumed_recipe(state, file, ["solver.steps=1"]), shapes_folder, out, resume=True)
    with pytest.raises(TrainError, match=r"a run with solver\.lr=0\.5; found 0\.1"):
        resumed_recipe(state, file, ["solver.lr=0.1"])
    file.write_text(dump_recipe(tiny(*SHORT, "solver.seed=7")))  # edited meanwhile
    with pytest.raises(TrainError, match=r"a run with solver\.seed=0; found 7"):
        resumed_recipe(state, file)


def test_a_checkpoint_of_another_origin_is_not_overwritten(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    new_checkpoint(tiny(), tmp_path / "model.safetensors")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"model\.safetensors: is there already, and no run"):
        run(tiny(*SHORT), shapes_folder, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("workers", [-1, 100000])
def test_a_number_of_workers_that_cannot_be_is_refused(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, workers: int
) -> None:
    dataset = CocoInstances(shapes_folder, "train")
    with pytest.raises(InputError, match=f"--workers {workers}: expected 0 to 256"):
        train(tiny(), dataset, tmp_path / "run", workers=workers, progress=False)
    assert not (tmp_path / "run").exists()


def test_frozen_stages_without_weights_are_refused(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    frozen = tiny("solver.steps=1", "model.freeze_at=2")
    with pytest.raises(ConfigError, match=r"stem, res2 would stay random, .*no weights were given"):
        run(frozen, shapes_folder, tmp_path / "random")
    assert not (tmp_path / "random").exists()
    new_checkpoint(frozen, tmp_path / "given.safetensors")
    run(frozen, shapes_folder, tmp_path / "given", backbone=tmp_path / "given.safetensors")
    again = tiny("solver.steps=2", "model.freeze_at=2")  # whose state has them
    assert load_checkpoint(run(again, shapes_folder, tmp_path / "given", resume=True)).steps == 2


@pytest.mark.parametrize("seed", [20260101, 2**70])
def test_seeds_of_any_size_train(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, seed: int
) -> None:
    recipe = tiny("solver.steps=1", f"solver.seed={seed}")
    path = run(recipe, shapes_folder, tmp_path / "run")
    assert load_checkpoint(path).recipe.solver == recipe.solver


@pytest.mark.parametrize("name", ["fastmask_tiny", "deepmask_tiny"])
def test_proposal_networks_train_and_resume(
    name: str,
    proposer: MakeRecipe,
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = proposer(name, "solver.steps=2", "solver.checkpoint_every=1", "model.dropout=0.5")
    whole, cut = run_and_cut(recipe, shapes_folder, tmp_path, 2, monkeypatch)
    path = run(recipe, shapes_folder, cut, resume=True)
    assert logged(cut) == logged(whole)
    assert same_weights(path, whole / "model.safetensors")
    losses = ["objectness", "mask"] + (["attention"] if name == "fastmask_tiny" else [])
    assert list(logged(whole)[0]) == ["step", "lr", *losses]
    trained, untrained = load_checkpoint(path), tmp_path / "untrained.safetensors"
    new_checkpoint(recipe, untrained)
    assert (trained.steps, trained.recipe.class_names) == (2, ("object",))
    assert not same_weights(path, untrained)
