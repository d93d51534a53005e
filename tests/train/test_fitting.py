"""The largest batch that fits: its search, its trials, and what a run does with it.

No GPU has run it: memory that runs out is what torch raises when it does.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import ConfigError
from maskrt.train import fitting, loop
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.data.epochs import endless_batches, largest_canvas_hw
from maskrt.train.fitting import largest, most_fitting, trial, worst_batch
from maskrt.train.loop import train
from maskrt.train.ranks import Ranks
from maskrt.train.recipes.recipe import Recipe, load_recipe
from maskrt.train.run_state import resumed_recipe
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.tensors import load_metadata

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")


@pytest.fixture
def dataset(shapes_folder: Path) -> CocoInstances:
    return CocoInstances(shapes_folder, "train")


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 37, 64, 1000])
def test_the_largest_size_that_fits_is_found_in_few_trials(limit: int) -> None:
    tried = []

    def step(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError

    assert largest(step, 64) == min(limit, 64)
    assert len(tried) == len(set(tried)) <= 14
    assert max(tried) <= 64


def test_another_error_of_a_trial_is_not_about_memory() -> None:
    def step(_: int) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        largest(step, 4)


@pytest.mark.parametrize("name", ["lsc_mask_rcnn_tiny", "fastmask_tiny"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_trial_takes_whole_steps_on_the_worst_case(
    name: str, parts: int, tiny: MakeRecipe, proposer: MakeRecipe
) -> None:
    words = ("solver.batch=auto", f"solver.accumulate={parts}", "solver.lr=0")
    recipe = proposer(name, *words) if name == "fastmask_tiny" else tiny(*words)
    trial(recipe, 2, (96, 96), 32, CPU)
    batch = worst_batch(2, (64, 96), 32)
    assert batch.images.shape == (2, 64, 96, 3)
    corners = torch.cat(batch.boxes)
    assert (corners[:, :2] >= 0).all()
    assert (corners[:, 2:] <= torch.tensor([96, 64])).all()
    assert (corners[:, 2:] - corners[:, :2] >= 16).all()


@pytest.mark.parametrize("name", ["lsc_mask_rcnn_tiny", "fastmask_tiny"])
def test_no_canvas_of_a_run_is_larger_than_the_trial_s(
    name: str, tiny: MakeRecipe, proposer: MakeRecipe, dataset: CocoInstances
) -> None:
    recipe = proposer(name) if name == "fastmask_tiny" else tiny()
    batches = endless_batches(dataset, recipe, 0, 0, (0, 1))
    seen = [next(batches).images.shape[1:3] for _ in range(30)]
    largest_hw = largest_canvas_hw(dataset, recipe)
    assert max(h for h, _ in seen) <= largest_hw[0]
    assert max(w for _, w in seen) <= largest_hw[1]
    assert largest_hw[0] * largest_hw[1] <= 1.5 * max(h * w for h, w in seen)


def test_without_a_gpu_a_number_is_asked_for(
    tiny: MakeRecipe, dataset: CocoInstances, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"solver\.batch=auto: found no GPU; expected one, whose"):
        train(tiny("solver.batch=auto"), dataset, tmp_path / "run", workers=0, progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"batch='many'; expected a whole number .*, or 'auto'"):
        tiny("solver.batch=many")


def test_a_run_keeps_the_batch_that_was_found(
    tiny: MakeRecipe,
    dataset: CocoInstances,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fitting, "most_fitting", lambda recipe, data, device, most: min(3, most))
    words = ("solver.batch=auto", "solver.accumulate=2", "solver.steps=1", "solver.lr=0.05")
    path = train(tiny(*words), dataset, tmp_path, workers=0, overrides=words)
    assert (
        "solver.batch=auto: 6 pictures a step, 3 at once; solver.lr=0.05 and solver.steps=1 are "
        "not scaled with it"
    ) in capfd.readouterr().err
    assert load_checkpoint(path).recipe.solver.batch == 6
    assert load_recipe(tmp_path / "model.yaml").solver.batch == 6
    monkeypatch.setattr(fitting, "most_fitting", None)  # nothing is tried again
    (tmp_path / "narrow.yaml").write_text((tmp_path / "model.yaml").read_text())
    again = resumed_recipe(
        tmp_path / "resume.safetensors", tmp_path / "narrow.yaml", (*words, "solver.steps=2")
    )
    assert (again.solver.batch, again.solver.steps) == (6, 2)
    longer = tiny(*words, "solver.steps=2")
    train(longer, dataset, tmp_path, workers=0, progress=False, resume=True)
    assert load_metadata(tmp_path / "resume.safetensors")["step"] == "2"


def test_a_batch_that_parts_cannot_share_is_refused(
    tiny: MakeRecipe, dataset: CocoInstances, tmp_path: Path
) -> None:
    recipe = tiny("solver.batch=3", "solver.accumulate=2")
    with pytest.raises(ConfigError, match=r"solver\.batch=3: found 1 processes to share it in 2 p"):
        train(recipe, dataset, tmp_path / "run", workers=0, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_on_a_gpu_the_batch_that_was_found_trains(
    tiny: MakeRecipe, dataset: CocoInstances, tmp_path: Path
) -> None:
    ranks = Ranks(0, 1, torch.device("cuda", 0))
    found = most_fitting(tiny("solver.batch=auto"), dataset, ranks.device, 12)
    assert 1 <= found <= 12
    recipe = tiny("solver.batch=auto", "solver.steps=2")
    assert loop.train(recipe, dataset, tmp_path, workers=2, progress=False).is_file()
