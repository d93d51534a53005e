"""A run that starts from all weights of a checkpoint, and which checkpoints it may start from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import ConfigError
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.loop import train
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.weights.checkpoint import load_checkpoint, save_checkpoint
from maskrt.train.weights.fine_tuning import take_weights

MakeProposer = Callable[..., FastMaskRecipe]
ORIGINAL = ("model.compat=original",)


@pytest.fixture
def published(proposer: MakeProposer, tmp_path: Path) -> Path:
    """As an imported caffemodel is: two streams, the second with weights of its own."""
    torch.manual_seed(11)
    save_checkpoint(tmp_path / "a.safetensors", FastMask(proposer("fastmask_tiny", *ORIGINAL)))
    return tmp_path / "a.safetensors"


def test_a_run_starts_from_every_weight(
    proposer: MakeProposer, published: Path, shapes_folder: Path, tmp_path: Path
) -> None:
    recipe = proposer("fastmask_tiny", *ORIGINAL, "solver.lr=0", "solver.steps=1")
    dataset = CocoInstances(shapes_folder, "train")
    result = train(recipe, dataset, tmp_path / "run", workers=0, weights=published, progress=False)
    given, trained = (
        load_checkpoint(published).model,
        dict(load_checkpoint(result).model.named_parameters()),
    )
    assert trained.keys() > {"body.res4_second.0.conv1.weight", "norm.weight", "head.mask_2.bias"}
    for name, value in given.named_parameters():
        assert torch.equal(trained[name], value), name


def test_settings_of_test_and_training_may_be_others(
    proposer: MakeProposer, published: Path
) -> None:
    recipe = proposer(
        "fastmask_tiny", *ORIGINAL, "model.streams=1", "model.norm=frozen", "windows.per_image=5"
    )
    model = FastMask(recipe)
    take_weights(model, published)
    given = load_checkpoint(published).model.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.compat=paper", "weights of model.compat='original'; recipe fastmask_tiny says 'pa"),
        ("model.mask_rank=12", "weights of model.mask_rank=16; recipe fastmask_tiny says 12"),
        ("input.mean=[1, 2, 3]", "weights of input.mean="),
    ],
)
def test_weights_of_another_network_are_refused(
    proposer: MakeProposer, published: Path, override: str, sentence: str
) -> None:
    model = FastMask(proposer("fastmask_tiny", *ORIGINAL, override))
    with pytest.raises(ConfigError, match=f"{sentence}.*expected the same network"):
        take_weights(model, published)
