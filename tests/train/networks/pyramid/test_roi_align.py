"""RoIAlign over a pyramid in torch: borders as libraries round them, what training needs.

That bins are those of the specification is in tests/engines/kernels/test_pyramid_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskrt.train.networks.pyramid.roi_align import (
    _atlas_operator,
    atlas_of,
    box_levels,
    level_borders,
    maps_of,
    pyramid_roi_align,
    pyramid_roi_align_operator,
)
from maskrt.train.networks.roi_align import roi_align

STRIDES, BORDERS = (4, 8), (784.0,)


# The libraries' own lines, with the area in the place of their boxes.


def detectron2(area: Tensor) -> Tensor:
    """modeling/poolers.py, assign_boxes_to_levels."""
    levels = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-8))
    return torch.clamp(levels, min=2, max=5).to(torch.int64) - 2


def torchvision(area: Tensor) -> Tensor:
    """ops/poolers.py, LevelMapper."""
    s = torch.sqrt(area)
    levels = torch.floor(4 + torch.log2(s / 224) + torch.tensor(1e-6, dtype=s.dtype))
    return torch.clamp(levels, min=2, max=5).to(torch.int64) - 2


def mmdetection(area: Tensor) -> Tensor:
    """roi_extractors/single_level_roi_extractor.py, map_roi_levels."""
    levels = torch.floor(torch.log2(torch.sqrt(area) / 56 + 1e-6))
    return levels.clamp(min=0, max=3).long()


@pytest.mark.parametrize(
    ("library", "borders"),
    [
        (detectron2, level_borders((2, 3, 4, 5), 4, 224, ratio_eps=1e-8)),
        (torchvision, level_borders((2, 3, 4, 5), 4, 224, level_eps=1e-6)),
        (mmdetection, level_borders((0, 1, 2, 3), 0, 56, ratio_eps=1e-6)),
    ],
    ids=["Detectron2", "torchvision", "MMDetection"],
)
def test_levels_are_the_library_s_for_every_float_around_a_border(
    library: Callable[[Tensor], Tensor], borders: list[float]
) -> None:
    middle = torch.tensor([0.0, 1.0, 112.0**2, 224.0**2, 448.0**2, 1e7]).view(torch.int32)
    bits = (middle[:, None] + torch.arange(-1000, 1000, dtype=torch.int32)).clamp(min=0)
    area = bits.view(torch.float32).flatten()
    boxes = torch.stack((area * 0, area * 0, area, torch.ones_like(area)), dim=1)
    assert torch.equal(box_levels(boxes, borders), library(area))
    assert len(set(box_levels(boxes, borders).tolist())) == 4


def maps(**kind: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, 20, 31), (2, 3, 10, 16)
    return [torch.rand(shape, generator=generator).requires_grad_(**kind) for shape in shapes]


def boxes(side: float) -> Tensor:
    low = 80 * torch.rand(2, 9, 2, generator=torch.Generator().manual_seed(1))
    return torch.cat((low, low + side), dim=2)


@pytest.mark.parametrize("samples", [2, 0])
def test_boxes_of_one_level_are_pooled_as_from_one_map(samples: int) -> None:
    features = maps()
    for level, side in ((0, 20.0), (1, 50.0)):
        rois = boxes(side)
        found = pyramid_roi_align(features, rois, 7, STRIDES, samples, BORDERS)
        want = roi_align(features[level], rois, 7, 1 / STRIDES[level], samples)
        torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


def test_gradients_reach_the_level_of_a_box_and_no_other() -> None:
    features = maps(requires_grad=True)
    rois = boxes(20).requires_grad_()
    found = pyramid_roi_align(features, rois, 7, STRIDES, 2, BORDERS)
    found.sum().backward()
    # The bins are linear in the features: their sum is the features' product with its gradient.
    assert features[0].grad is not None
    torch.testing.assert_close((features[0] * features[0].grad).sum(), found.sum())
    assert features[1].grad is not None
    assert not features[1].grad.any()
    assert rois.grad is None


def test_no_boxes_give_no_rows_and_boxes_of_no_numbers_zeros() -> None:
    features = maps()
    none = pyramid_roi_align(features, boxes(9)[:, :0], 7, STRIDES, 2, BORDERS)
    assert none.shape == (0, 3, 7, 7)
    wild = torch.tensor([[[torch.nan, 1, 9, 9], [1, 1, torch.inf, 9]]] * 2)
    for samples in (2, 0):
        assert not pyramid_roi_align(features, wild, 7, STRIDES, samples, BORDERS).any()


def test_the_operator_is_the_function_and_says_its_shape() -> None:
    features, rois = maps(), boxes(30)
    found = pyramid_roi_align_operator(features, rois, 7, STRIDES, 0, BORDERS, aligned=False)
    want = pyramid_roi_align(features, rois, 7, STRIDES, 0, BORDERS, aligned=False)
    assert torch.equal(found, want)
    atlas = atlas_of(features)
    assert atlas.shape == (2, 3, 31, 31)
    assert not atlas[:, :, 20].any()
    assert all(map(torch.equal, maps_of(atlas, [(20, 31), (10, 16)]), features))
    how = ([20, 31, 10, 16], list(STRIDES), 7, 2, list(BORDERS), True)
    torch.library.opcheck(
        _atlas_operator, (atlas, rois, *how), test_utils=("test_schema", "test_faketensor")
    )
