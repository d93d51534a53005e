"""Runs that start from a checkpoint: what they take by name, by class, across families."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import ConfigError
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.loop import train
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from maskrt.train.weights.checkpoint import load_checkpoint, save_checkpoint, start_from
from maskrt.train.weights.fine_tuning import require_trained
from maskrt.train.weights.imported import Imported

MakeProposer = Callable[..., FastMaskRecipe]
MakeRecipe = Callable[..., MaskRCNNRecipe]
MakePyramid = Callable[..., MaskRCNNFPNRecipe]
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
    start_from(model, weights=published)
    given = load_checkpoint(published).model.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items())


def test_weights_that_would_mean_something_else_are_refused(
    proposer: MakeProposer, published: Path
) -> None:
    for override, words in (
        ("model.compat=paper", "model.compat=original"),
        ("input.mean=[1, 2, 3]", r"input.mean=\[123.675,116.28,103.53\]"),
        ("input.channel_order=BGR", "input.channel_order=RGB"),
    ):
        model = FastMask(proposer("fastmask_tiny", *ORIGINAL, override))
        with pytest.raises(ConfigError, match=f"weights of {words}; recipe .* command: {words}"):
            start_from(model, weights=published)


@pytest.fixture
def detector(tiny: MakeRecipe, tmp_path: Path) -> Path:
    """Random in every tensor, of three classes."""
    torch.manual_seed(12)
    model = MaskRCNN(tiny("classes=[cat, dog, owl]"))
    with torch.no_grad():
        for value in model.state_dict().values():
            value.normal_()
    save_checkpoint(tmp_path / "detector.safetensors", model, steps=7)
    return tmp_path / "detector.safetensors"


def test_rows_of_classes_follow_their_names(tiny: MakeRecipe, detector: Path) -> None:
    model = MaskRCNN(tiny("classes=[owl, elk, cat]"))
    taken = start_from(model, weights=detector)
    given, state = load_checkpoint(detector).model.state_dict(), model.state_dict()
    assert taken is not None
    assert (taken.known, taken.begun) == (["owl", "cat"], ["elk"])
    for name, rows in (("box_predictor.cls_score", 1), ("box_predictor.bbox_pred", 4)):
        for kind in ("weight", "bias"):
            before, after = (s[f"{name}.{kind}"].split(rows) for s in (given, state))
            average = torch.stack(before[:3]).mean(dim=0)
            assert torch.equal(after[0], before[2])
            assert torch.equal(after[1], average)
            assert torch.equal(after[2], before[0])
            assert len(after) == len(before)
            if rows == 1:
                assert torch.equal(after[3], before[3])  # the background's
    masks = (s["mask_head.predictor.weight"] for s in (state, given))
    after, before = masks
    assert torch.equal(after[[0, 2]], before[[2, 0]])
    assert all(torch.equal(state[name], given[name]) for name in taken.kept)
    assert sorted([*taken.kept, *taken.remade]) == sorted(state)
    remade = "6 tensors (box_predictor, mask_head)"
    assert taken.lines == [
        "weights of detector.safetensors (trained for 7 steps)",
        f"  kept: {len(state) - 6} tensors (backbone, separable, rpn, subnet, mask_head)",
        f"  remade: {remade}; owl, cat known by name, elk from the average of theirs",
        "  new: none",
    ]


def test_equal_numbers_of_other_classes_are_not_taken_for_each_other(
    tiny: MakeRecipe, detector: Path
) -> None:
    model = MaskRCNN(tiny("classes=[elk, fox, hen]"))
    taken = start_from(model, weights=detector)
    assert taken is not None
    assert (taken.known, taken.begun) == ([], ["elk", "fox", "hen"])
    rows = model.box_predictor.cls_score.weight
    assert torch.equal(rows[0], rows[2])


def test_what_does_not_fit_is_new_and_said(tiny: MakeRecipe, detector: Path) -> None:
    torch.manual_seed(5)
    recipe = tiny("classes=[cat, dog, owl]", "model.pooling=14", "model.mask_channels=12")
    model = MaskRCNN(recipe)
    before = model.mask_head.deconv.weight.clone()  # type: ignore[union-attr]
    taken = start_from(model, weights=detector)
    assert taken is not None
    assert {name.partition(".")[0] for name in taken.new} == {"box_predictor", "mask_head"}
    assert torch.equal(model.mask_head.deconv.weight, before)  # type: ignore[union-attr]
    assert taken.remade == []
    assert taken.lines[-1] == (
        "  other settings than theirs: model.pooling=14 (7), model.mask_channels=12 (8)"
    )


def test_families_share_their_bodies(
    tiny: MakeRecipe, pyramid: MakePyramid, proposer: MakeProposer, detector: Path, tmp_path: Path
) -> None:
    deep = MaskRCNN(tiny("model.subnet=c5", "model.separable_channels=0"))
    save_checkpoint(tmp_path / "c4.safetensors", deep)
    levels = MaskRCNNFPN(pyramid())
    taken = start_from(levels, weights=tmp_path / "c4.safetensors")
    assert taken is not None
    for name in ("conv1.weight", "conv3.norm.running_var"):
        given = deep.subnet.state_dict()[f"res5.0.{name}"]
        assert torch.equal(levels.backbone.state_dict()[f"res5.0.{name}"], given)
    assert {name.partition(".")[0] for name in taken.kept} == {"backbone"}
    assert "  not used: " in "\n".join(taken.lines)

    save_checkpoint(tmp_path / "fpn.safetensors", levels)
    back = MaskRCNN(tiny("model.subnet=c5", "model.separable_channels=0"))
    start_from(back, backbone=tmp_path / "fpn.safetensors")
    assert torch.equal(back.subnet.res5[0].conv1.weight, levels.backbone.res5[0].conv1.weight)

    mask = FastMask(proposer("fastmask_tiny"))
    start_from(mask, weights=detector)
    given = load_checkpoint(detector).model.state_dict()["backbone.res4.0.conv1.weight"]
    assert torch.equal(mask.body.state_dict()["res4.0.conv1.weight"], given)
    with pytest.raises(ConfigError, match=r"none of its tensors fits recipe fastmask_tiny"):
        start_from(FastMask(proposer("fastmask_tiny", "model.body=vgg")), weights=detector)


def test_untrained_heads_of_imported_weights_are_not_taken(
    tiny: MakeRecipe, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    path = tmp_path / "imagenet.safetensors"
    imported = Imported("somebody's ImageNet", "r.pth", "0" * 64, rest="heads")
    save_checkpoint(path, MaskRCNN(tiny()), imported=imported)
    model = MaskRCNN(tiny())
    taken = start_from(model, weights=path)
    assert taken is not None
    assert {name.partition(".")[0] for name in taken.kept} == {"backbone"}


def test_strides_are_part_of_what_weights_mean(tiny: MakeRecipe, detector: Path) -> None:
    model = MaskRCNN(tiny("model.stride_in_1x1=true"))
    with pytest.raises(ConfigError, match=r"Add to the command: model\.stride_in_1x1=false\.$"):
        start_from(model, backbone=detector)


def test_frozen_layers_need_weights(tiny: MakeRecipe, detector: Path) -> None:
    model = MaskRCNN(tiny("model.freeze_at=2"))
    said = r"stem, res2 would stay random, .* \(model\.freeze_at=2\) and "
    with pytest.raises(ConfigError, match=said + "no weights were given"):
        require_trained(model, (), None)
    taken = start_from(model, weights=detector)
    assert taken is not None
    require_trained(model, taken.kept, detector)
    wider = MaskRCNN(tiny("model.freeze_at=1", "model.stem_channels=16"))
    taken = start_from(wider, weights=detector)
    assert taken is not None
    with pytest.raises(
        ConfigError, match=r"stem would stay random, .* and .*detector\.safetensors does"
    ):
        require_trained(wider, taken.kept, detector)


def test_one_source_of_weights_at_a_time(tiny: MakeRecipe, detector: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of them"):
        start_from(MaskRCNN(tiny()), detector, detector)
