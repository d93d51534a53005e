"""What of a recipe changes without the weights: a stream left out, the published demo's setting."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import ConfigError
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from maskrt.train.weights.settings import with_settings

DEMO = (
    "input.long_side_px=870",
    "input.canvas_hw=[652,868]",
    "model.test_strides=[16,24,32,48,64,96,128]",
    "windows.per_image=100",
)
"""The published image_demo.py's: 870 px, seven scales, the best 100."""


@pytest.fixture
def original(fastmask_network: Callable[..., FastMask], tmp_path: Path) -> Checkpoint:
    """Two streams, the second with weights of its own."""
    save_checkpoint(tmp_path / "a.safetensors", fastmask_network("model.compat=original"))
    return load_checkpoint(tmp_path / "a.safetensors")


def test_one_stream_of_two_has_its_maps_and_no_other_tensors(original: Checkpoint) -> None:
    changed = with_settings(original, ["model.streams=1"])
    config = changed.recipe.model
    assert isinstance(changed.recipe, FastMaskRecipe)
    assert config.train_strides == config.test_strides == (16.0, 32.0, 64.0, 128.0)
    left_out = original.model.state_dict().keys() - changed.model.state_dict().keys()
    assert left_out
    assert all(name.startswith("body.res4_second.") for name in left_out)
    x = torch.randn(1, 3, 96, 132, generator=torch.Generator().manual_seed(1))
    assert isinstance(original.model, FastMask)
    assert isinstance(changed.model, FastMask)
    with torch.inference_mode():
        wanted = original.model.levels(x, config.test_strides)
        found = changed.model.levels(x, config.test_strides)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_strides_asked_for_beside_one_stream_are_kept(original: Checkpoint) -> None:
    asked = ["model.test_strides=[16,64]", "model.streams=1"]
    assert with_settings(original, asked).recipe.model.test_strides == (16.0, 64.0)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"model.test_strides=\['24'\]: expected rising strides"):
        with_settings(original, ["model.test_strides=[24]", "model.streams=1"])


def test_a_stream_cannot_be_added(original: Checkpoint) -> None:
    one = with_settings(original, ["model.streams=1"])
    with pytest.raises(ConfigError, match=r"model.streams=2: \d+ tensors of a second stream are"):
        with_settings(one, ["model.streams=2"])


def test_the_published_demos_setting(original: Checkpoint) -> None:
    deployment = deploy(with_settings(original, DEMO), Shapes())
    assert deployment.contract.canvas_hw == (652, 868)
    assert deployment.contract.resize.long_side_px == 870
    assert deployment.contract.output("windows").shape == (1, 100, 4)
    assert len(deployment.module.boxes) == 4716  # type: ignore[arg-type]


def test_what_weights_depend_on_stays(original: Checkpoint) -> None:
    for key in ("model.neck=max", "input.mean=[0,0,0]", "model.compat=paper"):
        with pytest.raises(ConfigError, match=r"the weights were trained with .* Leave it away"):
            with_settings(original, [key])
