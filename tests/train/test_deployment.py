"""A checkpoint made ready to run does what its contract says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrt.runtime.contract import contract_from_json
from maskrt.runtime.errors import ConfigError, ContractError
from maskrt.train.checkpoint import load_checkpoint, new_checkpoint
from maskrt.train.config import MaskRCNNRecipe
from maskrt.train.deployment import Shapes, TorchSession, deploy

MakeRecipe = Callable[..., MaskRCNNRecipe]


@pytest.fixture
def untrained(tiny: MakeRecipe, tmp_path: Path) -> Callable[..., Path]:
    def write(*overrides: str) -> Path:
        new_checkpoint(tiny(*overrides), tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize("subnet", ["light", "c5"])
@pytest.mark.parametrize(
    "shapes",
    [
        Shapes(),
        Shapes((64, 80), batch=2, proposals=30, detections=7),
        Shapes((16, 16), 1, 900, 400),
    ],
    ids=["recipe", "asked for", "more slots than anchors"],
)
def test_outputs_are_those_of_the_contract(
    untrained: Callable[..., Path], shapes: Shapes, subnet: str
) -> None:
    session = TorchSession(
        untrained(f"model.subnet={subnet}", "detections.score_threshold=0.0"), shapes
    )
    canvas, sizes = session.contract.inputs
    images = np.random.default_rng(0).integers(0, 256, canvas.shape, np.uint8)
    outputs = session.run(images, np.full(sizes.shape, 16, np.int32))
    found = {name: (array.shape, array.dtype.name) for name, array in outputs.items()}
    assert found == {spec.name: (spec.shape, spec.dtype) for spec in session.contract.outputs}


def test_the_contract_says_what_the_recipe_says(untrained: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(untrained())
    contract = deploy(checkpoint, Shapes()).contract
    recipe = checkpoint.recipe
    assert contract.class_names == recipe.class_names
    assert contract.canvas_hw == recipe.input.canvas_hw
    assert (contract.mean, contract.std) == (recipe.input.mean, recipe.input.std)
    assert (contract.resize.short_side_px, contract.resize.long_side_px) == (64, 96)
    assert contract.output("scores").shape == (1, recipe.detections.per_image)
    assert contract.checkpoint_sha256 == checkpoint.sha256
    assert contract_from_json(contract.to_json(), "test") == contract


def test_the_session_runs_the_deploy_form(untrained: Callable[..., Path]) -> None:
    path = untrained("detections.score_threshold=0.0")
    session = TorchSession(path)
    images = np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3), np.uint8)
    outputs = session.run(images, np.array([[90, 70]], np.int32))
    module = deploy(load_checkpoint(path), Shapes()).module
    with torch.no_grad():
        expected = module(torch.from_numpy(images), torch.tensor([[90, 70]]))
    assert outputs["counts"][0] > 0
    if session.backend == "torch-cpu":
        assert all(np.array_equal(a, b) for a, b in zip(outputs.values(), expected, strict=True))


def test_inputs_are_checked(untrained: Callable[..., Path]) -> None:
    with pytest.raises(ContractError):
        TorchSession(untrained()).run(
            np.zeros((1, 96, 95, 3), np.uint8), np.array([[96, 95]], np.int32)
        )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (Shapes((100, 96)), r"multiples of 16 px, 16 or more\. Use 112x96"),
        (Shapes((0, 96)), r"Use 16x96"),
        (Shapes(batch=0), "--batch 0: expected at least 1"),
        (Shapes(proposals=0), "--proposals 0: expected at least 1"),
        (Shapes(proposals=3841), "takes at most 3840"),
        (Shapes(detections=0), "--detections 0: expected at least 1"),
    ],
)
def test_impossible_sizes_are_refused(
    untrained: Callable[..., Path], shapes: Shapes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        deploy(load_checkpoint(untrained()), shapes)
