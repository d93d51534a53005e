"""Detectors on a pyramid out of other libraries' files: each tensor and each setting arrives."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.weights.checkpoint import Checkpoint, load_checkpoint
from maskrt.train.weights.import_weights import import_checkpoint
from maskrt.train.weights.pyramids import torchvision_detection

from .published_names import (
    SECOND,
    counted,
    detectron2,
    narrow,
    torchvision_first,
    torchvision_of,
    torchvision_second,
    trained,
)

FASTER = ("model.mask=false",)
Files = Callable[[dict[str, Any]], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Files:
    """Writes a state dict as torch does."""

    def save(content: dict[str, Any]) -> Path:
        torch.save(content, tmp_path / "model.pth")
        return tmp_path / "model.pth"

    return save


def imported(file: Path, source: Any, **options: Any) -> Checkpoint:
    out = file.with_name("m.safetensors")
    import_checkpoint(file, source, out, overwrite=True, **options)
    return load_checkpoint(out)


def assert_holds(found: Checkpoint, state: dict[str, Tensor]) -> None:
    given = found.model.state_dict()
    assert given.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(given[name], tensor), name


def first(*overrides: str, old: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Our state dict and torchvision's of the first version."""
    state = trained(narrow(*overrides))
    return state, torchvision_of(state, torchvision_first(old=old))


def second(*overrides: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    state = trained(narrow(*SECOND, *overrides))
    return state, counted(torchvision_of(state, torchvision_second()))


def test_names_are_as_many_as_torchvision_has() -> None:
    """Of its four networks, counted in torchvision 0.29.1."""
    assert len(counted(first()[1])) == 360
    assert len(second()[1]) == 432
    assert len(counted(first(*FASTER)[1])) == 348
    assert len(second(*FASTER)[1]) == 404


@pytest.mark.parametrize("old", [False, True], ids=["today's", "before 0.13"])
@pytest.mark.parametrize("overrides", [(), FASTER], ids=["mask", "faster"])
def test_every_tensor_of_torchvisions_first_version_lands_in_its_place(
    saved: Files, overrides: tuple[str, ...], *, old: bool
) -> None:
    state, theirs = first(*overrides, old=old)
    found = imported(saved(theirs), "torchvision", norm_eps=1e-5)
    assert_holds(found, state)
    kind = "Faster" if overrides else "Mask"
    assert found.origin == f"imported from model.pth (torchvision {kind} R-CNN FPN)"


@pytest.mark.parametrize("overrides", [(), FASTER], ids=["mask", "faster"])
def test_every_tensor_of_torchvisions_second_version_lands_in_its_place(
    saved: Files, overrides: tuple[str, ...]
) -> None:
    state, theirs = second(*overrides)
    found = imported(saved(theirs), "torchvision")
    assert_holds(found, state)
    kind = "Faster" if overrides else "Mask"
    assert found.origin == f"imported from model.pth (torchvision {kind} R-CNN FPN v2)"
    assert found.recipe.model.norm == "batch"


def test_torchvisions_settings_come_with_its_weights(saved: Files) -> None:
    recipe = imported(saved(first()[1]), "torchvision", norm_eps=1e-5).recipe
    model = recipe.model
    assert (model.norm, model.stride_in_1x1, model.sampling_ratio) == ("frozen", False, 2)
    assert (model.roi_aligned, model.level_rule) == (False, "torchvision")
    assert (model.anchors_whole_px, model.anchor_steps) == (True, "picture")
    assert (recipe.proposals.pre_nms_test, recipe.proposals.post_nms_test) == (1000, 1000)
    assert (recipe.proposals.min_size_px, recipe.detections.min_size_px) == (1e-3, 1e-2)
    assert (recipe.detections.score_threshold, recipe.detections.nms_iou) == (0.05, 0.5)
    assert recipe.input.channel_order == "RGB"
    assert recipe.input.mean == (123.675, 116.28, 103.53)
    assert recipe.class_names == ("class_0", "class_1", "class_2")
    assert recipe.name == "mask_rcnn_r50_fpn"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: {"model": d, "epoch": 3},
        lambda d: {"model_state_dict": d},
        lambda d: {"state_dict": d},
        lambda d: {f"module.{name}": value for name, value in d.items()},
    ],
    ids=["model", "model_state_dict", "state_dict", "ddp"],
)
def test_wrappers_are_opened(saved: Files, wrap: Callable[[Any], Any]) -> None:
    state, theirs = second()
    assert_holds(imported(saved(wrap(theirs)), "torchvision"), state)


def test_an_epsilon_of_zero_goes_into_the_norms_scale(saved: Files) -> None:
    state, theirs = first()
    found = imported(saved(theirs), "torchvision", norm_eps=0.0).model
    assert isinstance(found, MaskRCNNFPN)
    norm = found.backbone.res3[1].conv2.norm
    x = torch.rand(1, norm.weight.numel(), 2, 2)
    name = "backbone.res3.1.conv2.norm."
    weight, bias, mean, var = (
        state[name + leaf].double()[:, None, None]
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    expected = (x.double() - mean) / var.sqrt() * weight + bias
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-6, atol=1e-6)


def test_published_files_are_known_by_their_hash(
    saved: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_detection, "PUBLISHED", ("",))  # begins each
    state, theirs = first(old=True)
    found = imported(saved(theirs), "torchvision").model.state_dict()
    name = "backbone.stem.conv1.norm"
    variance = state[f"{name}.running_var"].double()
    wider = state[f"{name}.weight"].double() * ((variance + 1e-5) / variance).sqrt()
    torch.testing.assert_close(found[f"{name}.weight"].double(), wider, rtol=1e-6, atol=0)


def test_an_epsilon_that_nobody_says_is_asked_for(saved: Files) -> None:
    file = saved(first()[1])
    with pytest.raises(InputError, match=r"frozen norms without their epsilon; .*--norm-eps 0"):
        imported(file, "torchvision")
    with pytest.raises(InputError, match=r"--norm-eps 0: .* has norms of 1e-05"):
        imported(saved(second()[1]), "torchvision", norm_eps=0.0)


def test_cocos_ninety_labels_keep_their_places_or_leave_the_unused_out(saved: Files) -> None:
    ninety = json.dumps([f"n{i}" for i in range(90)])
    state, theirs = second(f"classes={ninety}")
    kept = imported(saved(theirs), "torchvision")
    assert_holds(kept, state)
    assert kept.recipe.class_names[11:13] == ("unused_12", "stop sign")
    coco = imported(saved(theirs), "torchvision", classes="coco")
    assert coco.recipe.class_names[11] == "stop sign"
    scores = coco.model.state_dict()["box_predictor.cls_score.bias"]
    ours = state["box_predictor.cls_score.bias"]
    assert torch.equal(scores[[11, 79, 80]], ours[[12, 89, 90]])  # the last is the background
    boxes = coco.model.state_dict()["box_predictor.bbox_pred.bias"]
    assert torch.equal(boxes[44:48], state["box_predictor.bbox_pred.bias"][48:52])


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (
        lambda d: d.pop("backbone.fpn.inner_blocks.2.1.bias"),
        r"1 tensors missing \(backbone\.fpn\.inner_blocks\.2\.1\.bias\)",
    ),
    "renamed": (
        lambda d: d.update({"rpn.head.cls.weight": d.pop("rpn.head.cls_logits.weight")}),
        r"missing \(rpn\.head\.cls_logits\.weight\) and 1 tensors unknown \(rpn\.head\.cls\.wei",
    ),
    "shape of boxes": (
        lambda d: d.update({"roi_heads.box_predictor.bbox_pred.bias": torch.zeros(12)}),
        r"bbox_pred\.bias' is \(12,\); expected 16 rows of 3 classes and the background",
    ),
    "shape of a body's": (
        lambda d: d.update({"backbone.body.conv1.weight": torch.zeros(4, 3, 3, 3)}),
        r"'backbone\.body\.conv1\.weight' is \(4, 3, 3, 3\); expected \(4, 3, 7, 7\)",
    ),
    "keypoints": (
        lambda d: d.update({"roi_heads.keypoint_head.0.weight": torch.zeros(1)}),
        "a network with a keypoint branch",
    ),
    "rows that no memory holds": (
        lambda d: d.update({"roi_heads.box_head.5.weight": torch.zeros(1, 1).expand(99999, 392)}),
        r"model\.box_channels=99999; expected",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE.values(), ids=DAMAGE)
def test_what_does_not_fit_is_named(saved: Files, damage: Any, sentence: str) -> None:
    theirs = second()[1]
    damage(theirs)
    with pytest.raises((InputError, ConfigError), match=sentence):
        imported(saved(theirs), "torchvision")


def zoo(tmp_path: Path, named: dict[str, Any]) -> Path:
    file = tmp_path / "model_final.pkl"
    arrays = {name: value.numpy() for name, value in named.items()}
    file.write_bytes(pickle.dumps({"model": arrays, "__author__": "a stranger"}))
    return file


@pytest.mark.parametrize("overrides", [(), FASTER], ids=["mask", "faster"])
def test_every_tensor_of_detectron2s_pyramid_lands_in_its_place(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    state = trained(narrow(*overrides))
    named = {theirs: state[ours] for ours, theirs in detectron2() if ours in state}
    assert len(named) == (295 if overrides else 307)  # torchvision's without its counters
    found = imported(zoo(tmp_path, named), "detectron2")
    assert_holds(found, state)
    assert found.recipe.model.stride_in_1x1
    assert found.recipe.model.level_rule == "detectron2"
    assert found.recipe.input.channel_order == "BGR"


BASE = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS:
    OUT_FEATURES: [res2, res3, res4, res5]
    STEM_OUT_CHANNELS: 4
    RES2_OUT_CHANNELS: 16
    WIDTH_PER_GROUP: 4
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 8}
  ANCHOR_GENERATOR:
    SIZES: [[16], [32], [64], [128], [256]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
  RPN:
    IN_FEATURES: [p2, p3, p4, p5, p6]
    PRE_NMS_TOPK_TEST: 900
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: 3}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 12, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD:
    NAME: MaskRCNNConvUpsampleHead
    NUM_CONV: 4
    CONV_DIM: 4
    POOLER_RESOLUTION: 14
VERSION: 2
"""


def with_config(tmp_path: Path, text: str, *overrides: str) -> Checkpoint:
    """Detectron2's narrow network with a config of it that says `text` too."""
    state = trained(narrow(*overrides))
    named = {theirs: state[ours] for ours, theirs in detectron2() if ours in state}
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "config.yaml").write_text(f"_BASE_: base.yaml\n{text}")
    return imported(zoo(tmp_path, named), "detectron2", config=tmp_path / "config.yaml")


def test_a_config_of_a_pyramid_says_what_shapes_do_not(tmp_path: Path) -> None:
    text = "MODEL: {MASK_ON: true, RPN: {NMS_THRESH: 0.6}}\nINPUT: {MIN_SIZE_TEST: 500}"
    recipe = with_config(tmp_path, text).recipe
    assert recipe.model.anchor_sizes_px == (16, 32, 64, 128, 256)
    assert (recipe.proposals.pre_nms_test, recipe.proposals.nms_iou) == (900, 0.6)
    assert recipe.input.canvas_hw == (512, 1344)
    faster = with_config(tmp_path, "MODEL: {MASK_ON: false}", *FASTER).recipe
    assert faster.name == "faster_rcnn_r50_fpn"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("MODEL: {MASK_ON: false}", r"model\.mask is False; .* holds True"),
        ("MODEL: {FPN: {NORM: GN}}", "MODEL.FPN.NORM='GN'"),
        ("MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}", "NAME='CascadeROIHeads'"),
        ("MODEL: {ROI_BOX_HEAD: {FC_DIM: 16}}", r"model\.box_channels is 16; .* holds 12"),
        ("MODEL: {ANCHOR_GENERATOR: {SIZES: [[32, 64]]}}", "5 lists of one size"),
        ("MODEL: {ROI_MASK_HEAD: {POOLER_SAMPLING_RATIO: 2}}", "the same of both"),
    ],
    ids=["mask", "norm", "cascade", "width", "sizes", "samples"],
)
def test_a_config_of_another_pyramid_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        with_config(tmp_path, text)
