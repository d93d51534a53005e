"""A checkpoint made ready to run does what its contract says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import maskrt
from maskrt.runtime.contract import Contract, ResizeRule, contract_from_json
from maskrt.runtime.errors import ConfigError, ContractError
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.deploy.mask_rcnn import DeployMaskRCNN
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from maskrt.train.torch_session import TorchSession
from maskrt.train.weights.checkpoint import Checkpoint, load_checkpoint, new_checkpoint
from maskrt.train.weights.settings import with_settings

SHIPPED = Path(maskrt.__file__).parent / "train" / "checkpoints" / "lsc_mask_rcnn_tiny.safetensors"
MakeRecipe = Callable[..., MaskRCNNRecipe]
MakeProposer = Callable[..., FastMaskRecipe]


@pytest.fixture
def untrained(tiny: MakeRecipe, tmp_path: Path) -> Callable[..., Path]:
    def write(*overrides: str) -> Path:
        new_checkpoint(tiny(*overrides), tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize(
    ("subnet", "shapes"),
    [
        ("light", Shapes()),
        ("c5", Shapes((64, 80), batch=2, proposals=30, detections=7)),
        ("light", Shapes((16, 16), 1, 900, 400)),
    ],
    ids=["recipe", "asked for", "more slots than anchors"],
)
def test_outputs_are_those_of_the_contract(
    untrained: Callable[..., Path], subnet: str, shapes: Shapes
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
    if session.backend.device == "cpu":
        assert all(np.array_equal(a, b) for a, b in zip(outputs.values(), expected, strict=True))


def test_inputs_are_checked(untrained: Callable[..., Path]) -> None:
    with pytest.raises(ContractError):
        TorchSession(untrained()).run(
            np.zeros((1, 96, 95, 3), np.uint8), np.array([[96, 95]], np.int32)
        )


@pytest.fixture
def proposals(proposer: MakeProposer, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "fastmask_tiny", *overrides: str) -> Path:
        new_checkpoint(proposer(name, *overrides), tmp_path / "proposer.safetensors")
        return tmp_path / "proposer.safetensors"

    return write


WINDOWS_64_X_100 = 5 * 8 + 3 * 5 + 2 * 3  # strides 16, 32, 64
CENTRED_INSIDE = 5 * 7 + 3 * 4 + 2 * 2  # the last column of each level is centred past 100 px


@pytest.mark.parametrize(
    ("name", "shapes", "slots"),
    [
        ("fastmask_tiny", Shapes(), 12),
        ("deepmask_tiny", Shapes((64, 100), batch=2, proposals=7), 7),
        ("fastmask_tiny", Shapes((64, 100), proposals=3840), WINDOWS_64_X_100),
    ],
    ids=["recipe", "asked for", "more slots than windows"],
)
def test_proposals_are_those_of_the_contract(
    proposals: Callable[..., Path], name: str, shapes: Shapes, slots: int
) -> None:
    session = TorchSession(proposals(name), shapes)
    contract, batch = session.contract, shapes.batch
    assert [(spec.name, spec.shape, spec.dtype) for spec in contract.outputs] == [
        ("windows", (batch, slots, 4), "float32"),
        ("scores", (batch, slots), "float32"),
        ("masks", (batch, slots, 10, 10), "float32"),
        ("counts", (batch,), "int32"),
    ]
    canvas, sizes = contract.inputs
    images = np.random.default_rng(0).integers(0, 256, canvas.shape, np.uint8)
    outputs = session.run(images, np.tile(np.int32(canvas.shape[1:3]), (batch, 1)))
    found = [(name, array.shape, array.dtype.name) for name, array in outputs.items()]
    assert found == [(spec.name, spec.shape, spec.dtype) for spec in contract.outputs]
    assert outputs["counts"].tolist() == [min(slots, CENTRED_INSIDE)] * batch
    assert sizes.shape == (batch, 2)


def test_the_contract_of_proposals_says_what_the_recipe_says(
    proposals: Callable[..., Path],
) -> None:
    checkpoint = load_checkpoint(proposals())
    contract = deploy(checkpoint, Shapes()).contract
    assert (contract.model, contract.variant) == ("fastmask", "fastmask_tiny")
    assert (contract.task, contract.class_names) == ("proposals", ("object",))
    assert contract.operators == ("MaskrtWindowAlign",)
    assert contract.resize == ResizeRule(0, 96, multiple_px=4)
    assert contract.channel_order == "RGB"
    assert (contract.mean, contract.std) == (
        checkpoint.recipe.input.mean,
        checkpoint.recipe.input.std,
    )
    assert contract_from_json(contract.to_json(), "test") == contract


def test_impossible_sizes_are_refused(
    untrained: Callable[..., Path], proposals: Callable[..., Path]
) -> None:
    either = [
        (Shapes(batch=0), "--batch 0: expected at least 1"),
        (Shapes(proposals=0), "--proposals 0: expected at least 1"),
        (Shapes(proposals=3841), "takes at most 3840"),
    ]
    detector = [
        (Shapes((100, 96)), r"multiples of 16 px, 16 or more\. Use 112x96"),
        (Shapes((0, 96)), r"Use 16x96"),
        (Shapes(detections=0), "--detections 0: expected at least 1"),
    ]
    proposer = [
        (Shapes((98, 96)), r"multiples of 4 px, 16 or more\. Use 100x96"),
        (Shapes((12, 96)), "Use 16x96"),
        (Shapes(detections=5), "fastmask_tiny gives proposals, not detections"),
    ]
    for path, cases in ((untrained(), either + detector), (proposals(), either + proposer)):
        checkpoint = load_checkpoint(path)
        for shapes, message in cases:
            with pytest.raises(ConfigError, match=message):
                deploy(checkpoint, shapes)


def test_a_pyramid_has_canvases_of_its_own_and_without_masks_a_task_of_its_own(
    pyramid: Callable[..., MaskRCNNFPNRecipe], tmp_path: Path
) -> None:
    new_checkpoint(pyramid("model.mask=false"), tmp_path / "faster.safetensors")
    checkpoint = load_checkpoint(tmp_path / "faster.safetensors")
    with pytest.raises(ConfigError, match=r"multiples of 32 px, 32 or more\. Use 64x32"):
        deploy(checkpoint, Shapes((48, 16)))
    outputs, contract = outputs_of(checkpoint, Shapes((64, 96), batch=2, detections=7))
    assert (contract.model, contract.task) == ("mask_rcnn_fpn", "detection")
    assert contract.operators == ("MaskrtPyramidRoiAlign",)
    assert [spec.name for spec in contract.outputs] == ["boxes", "scores", "labels", "counts"]
    assert [spec.shape for spec in contract.outputs] == [output.shape for output in outputs]
    assert contract_from_json(contract.to_json(), "test") == contract


ASKED = (Shapes((64, 80), proposals=5), Shapes(), Shapes((64, 80), proposals=5))


def outputs_of(checkpoint: Checkpoint, shapes: Shapes) -> tuple[list[np.ndarray], Contract]:
    deployment = deploy(checkpoint, shapes)
    canvas, sizes = (spec.shape for spec in deployment.contract.inputs)
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, canvas, np.uint8))
    with torch.inference_mode():
        outputs = deployment.module(images, torch.full(sizes, 60, dtype=torch.int32))
    return [output.numpy() for output in outputs], deployment.contract


@pytest.mark.parametrize("family", ["mask_rcnn", "fastmask"])
def test_a_checkpoint_is_deployed_again_and_again(
    family: str, untrained: Callable[..., Path], proposals: Callable[..., Path]
) -> None:
    path = untrained("detections.score_threshold=0.0") if family == "mask_rcnn" else proposals()
    checkpoint = load_checkpoint(path)
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    for shapes in ASKED:
        found, contract = outputs_of(checkpoint, shapes)
        expected, fresh = outputs_of(load_checkpoint(path), shapes)
        assert contract == fresh
        assert [a.shape for a in found] == [spec.shape for spec in contract.outputs]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert found[-1][0] > 0  # counts
    after = checkpoint.model.state_dict()
    assert checkpoint.model.recipe == checkpoint.recipe
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_thresholds_change_behind_the_network_alone() -> None:
    checkpoint = load_checkpoint(SHIPPED)
    changed = with_settings(checkpoint, ("detections.nms_iou=0.3", "proposals.nms_iou=0.6"))
    module = deploy(changed, Shapes()).module
    assert isinstance(module, DeployMaskRCNN)
    assert (module.detections.nms_iou, module.proposals.nms_iou) == (0.3, 0.6)
    assert deploy(checkpoint, Shapes()).contract.measured
    assert deploy(changed, Shapes()).contract.measured == {}
    with pytest.raises(ConfigError, match=r"model\.pooling=14: the weights were trained"):
        with_settings(checkpoint, ("model.pooling=14",))
