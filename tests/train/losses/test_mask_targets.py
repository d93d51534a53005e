"""Masks cut out by boxes, against OpenCV's resizing and against RoIAlign."""

import cv2
import numpy as np
import pytest
import torch

from maskrt.train.losses.mask_targets import cut_masks
from maskrt.train.networks.roi_align import roi_align


def test_masks_are_seen_through_the_window() -> None:
    rng = np.random.default_rng(1)
    mask = cv2.GaussianBlur(rng.random((90, 120)).astype(np.float32), (0, 0), 3) > 0.5
    masks = torch.from_numpy(mask[None].astype(np.uint8))
    inside = torch.tensor([[20.0, 10, 100, 90]])
    seen = cut_masks(masks, torch.tensor([0]), inside, 160)[0].numpy()
    wanted = cv2.resize(mask[10:90, 20:100].astype(np.float32), (160, 160))
    assert np.abs(seen - wanted)[2:-2, 2:-2].max() < 1e-5
    outside = cut_masks(masks, torch.tensor([0]), torch.tensor([[-80.0, -60, 80, 100]]), 160)[0]
    assert (outside[:59] == 0).all()
    assert (outside[:, :79] == 0).all()
    assert outside.max() == 1


@pytest.mark.parametrize("side", [37, 60, 81])
def test_masks_are_sampled_as_opencv_resizes(side: int) -> None:
    mask = np.random.default_rng(2).integers(0, 2, (1, 90, 120)).astype(np.uint8)
    windows = torch.tensor([[5.0, 3, 5 + side, 3 + side]])
    seen = cut_masks(torch.from_numpy(mask), torch.tensor([0]), windows, 160)[0].numpy()
    crop = mask[0, 3 : 3 + side, 5 : 5 + side].astype(np.float32)
    wanted = cv2.resize(crop, (160, 160), interpolation=cv2.INTER_LINEAR)
    edge = -(-80 // side) + 1  # OpenCV repeats the crop's edge, a window sees past it
    assert np.abs(seen - wanted)[edge:-edge, edge:-edge].max() < 1e-4


def test_each_window_sees_its_own_object() -> None:
    masks = torch.zeros(2, 40, 40, dtype=torch.uint8)
    masks[1, 10:30, 10:30] = 1
    windows = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 30], [50, 50, 70, 70]])
    seen = cut_masks(masks, torch.tensor([0, 1, 1]), windows, 20)
    assert seen.mean(dim=(1, 2)).tolist() == [0, 1, 0]


def test_boxes_inside_the_picture_give_roi_aligns_targets() -> None:
    """To the pixel's rim too, where objects are cut off. Detectron2 averages as many samples a cell
    as are about a pixel apart, and decides so otherwise in few cells, all on outlines.
    """
    generator = torch.Generator().manual_seed(4)
    low = torch.rand(6, 12, 9, generator=generator)[None]
    blobs = torch.nn.functional.interpolate(low, size=(96, 120), mode="bilinear")[0]
    masks = (blobs > 0.5).to(torch.uint8)
    corners = torch.rand(60, 2, 2, generator=generator).sort(dim=1).values
    boxes = (corners * torch.tensor([120.0, 96])).flatten(1)
    boxes[:20] = boxes[:20].round()  # samples that lie between pixels or on them
    boxes[20:30, :2], boxes[30:40, 2:] = 0.0, torch.tensor([120.0, 96])
    objects = torch.arange(60) % 6
    found = cut_masks(masks, objects, boxes, 28, repeat_edge=True)
    pooled = roi_align(masks[objects].float()[:, None], boxes[:, None], 28, 1.0, 1)[:, 0]
    # places up to 120 px round by 1e-5
    torch.testing.assert_close(found, pooled, atol=1e-4, rtol=0)
    assert torch.equal(found >= 0.5, pooled >= 0.5)
    averaged = roi_align(masks[objects].float()[:, None], boxes[:, None], 28, 1.0, 0)[:, 0]
    otherwise = (found >= 0.5) != (averaged >= 0.5)
    assert otherwise.float().mean() < 0.03  # shapes drawn for training: 0.004, at 14 x 14 0.008
    rim = cut_masks(masks, objects, boxes, 28)
    assert (rim[20:40] < found[20:40] - 0.1).any()


def test_no_boxes_give_no_targets() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    for masks in (torch.zeros(0, 8, 9), torch.ones(2, 8, 9)):
        assert cut_masks(masks.byte(), nothing, torch.zeros(0, 4), 4).shape == (0, 4, 4)
