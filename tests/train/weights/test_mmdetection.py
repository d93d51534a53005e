"""MMDetection's checkpoints: names, and a config that is read as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from maskrt.runtime.errors import InputError
from maskrt.train.weights.checkpoint import Checkpoint, load_checkpoint
from maskrt.train.weights.import_weights import import_checkpoint
from maskrt.train.weights.mmdetection.config_text import settings_of

from .published_names import counted, mmdetection, narrow, trained

CAFFE = "mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False"
PYTORCH = "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True"
CONFIG = """
max_epochs = 12
model = dict(
    backbone=dict(depth=50, norm_cfg=dict(requires_grad=True, type='BN'), style='{style}',
                  type='ResNet'),
    data_preprocessor=dict({pixels}, pad_size_divisor=32, type='DetDataPreprocessor'),
    neck=dict(in_channels=[256, 512, 1024, 2048], num_outs=5, out_channels=256, type='FPN'),
    roi_head=dict(
        bbox_head=dict(bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]), num_classes=3,
                       reg_class_agnostic=False, type='Shared2FCBBoxHead'),
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, sampling_ratio=0, type='RoIAlign'),
                                type='SingleRoIExtractor'),
        type='{head}'),
    rpn_head=dict(anchor_generator=dict(ratios=[0.5, 1.0, 2.0], scales=[8],
                                        strides=[4, 8, 16, 32, 64], type='AnchorGenerator'),
                  type='RPNHead'),
    test_cfg=dict(rcnn=dict(max_per_img=100, nms=dict(iou_threshold=0.5, type='nms'),
                            score_thr=0.05),
                  rpn=dict(max_per_img=900, min_bbox_size=0, nms_pre=1000)),
    type='MaskRCNN')
test_pipeline = [dict(type='LoadImageFromFile'),
                 dict(keep_ratio=True, scale=(1000, 600), type='Resize')]
"""


def config(style: str = "pytorch", head: str = "StandardRoIHead") -> str:
    pixels = CAFFE if style == "caffe" else PYTORCH
    return CONFIG.format(style=style, pixels=pixels, head=head)


def imported(
    tmp_path: Path, meta: Any, *overrides: str, **options: Any
) -> tuple[Checkpoint, dict[str, torch.Tensor]]:
    state = trained(narrow(*overrides))
    named = {theirs: state[ours] for ours, theirs in mmdetection() if ours in state}
    torch.save({"meta": meta, "state_dict": counted(named)}, tmp_path / "epoch_12.pth")
    out = tmp_path / "m.safetensors"
    import_checkpoint(tmp_path / "epoch_12.pth", "mmdetection", out, **options)
    return load_checkpoint(out), state


def test_every_tensor_and_the_names_of_classes_arrive(tmp_path: Path) -> None:
    meta = {"cfg": config(), "dataset_meta": {"classes": ("cat", "dog", "cow")}}
    found, state = imported(tmp_path, meta)
    given = found.model.state_dict()
    assert given.keys() == state.keys()
    assert all(torch.equal(given[name], tensor) for name, tensor in state.items())
    assert found.recipe.class_names == ("cat", "dog", "cow")
    assert found.origin == "imported from epoch_12.pth (MMDetection Mask R-CNN FPN)"


@pytest.mark.parametrize("style", ["caffe", "pytorch"])
def test_a_style_says_pixels_and_strides(tmp_path: Path, style: str) -> None:
    recipe = imported(tmp_path, {"cfg": config(style)})[0].recipe
    assert recipe.model.stride_in_1x1 is (style == "caffe")
    assert recipe.input.channel_order == ("BGR" if style == "caffe" else "RGB")
    assert recipe.input.mean[1] == 116.28
    assert (recipe.input.short_side_px, recipe.input.long_side_px) == (600, 1000)
    assert recipe.input.canvas_hw == (608, 1024)
    assert recipe.proposals.post_nms_test == 900
    assert (recipe.model.level_rule, recipe.model.roi_aligned) == ("mmdetection", True)
    assert recipe.model.anchor_sizes_px == (32, 64, 128, 256, 512)


def test_a_config_beside_the_weights_goes_before_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its style \(caffe or pytorch\) is not in the weights"):
        imported(tmp_path, {})
    path = tmp_path / "config.py"
    path.write_text(config("caffe").replace("MaskRCNN", "FasterRCNN"))
    found, _ = imported(tmp_path, None, "model.mask=false", config=path)
    assert found.recipe.model.stride_in_1x1
    assert found.imported is not None
    assert [*found.imported.settings] == ["config.py"]


def test_another_network_is_refused_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"roi_head\.type='CascadeRoIHead'; expected StandardRo"):
        imported(tmp_path, {"cfg": config(head="CascadeRoIHead")})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model = dict(a=open('x'))", "a call in line 1"),
        ("_base_ = ['a.py']\n", "_base_="),
        ("model = (", "found; expected a resolved"),
        ("model = dict(a=b)", "malformed node"),
    ],
    ids=["call", "base", "broken", "name"],
)
def test_a_config_that_is_more_than_values_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        settings_of(text, "config.py")
