"""What is left of instances that lost a part, to the crop's edge or under others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from ...eval.coco.segmentations import Segmentation
from .dataset import Sample, rle_of

LEAST_SHARE = 0.05
"""Of an instance's area: where less is left of it, and less than `LEAST_AREA_PX`, it is a sliver
that nobody would name."""
LEAST_AREA_PX = 64
"""8 x 8 pixels of a large instance can be named, whatever share of it they are."""
LEAST_SIDE_PX = 1.0
"""Of a box, as in torchvision's SanitizeBoundingBoxes."""

Areas = npt.NDArray[np.float64]


def areas_px(sample: Sample) -> Areas:
    """(N,) pixels of each instance."""
    size_hw = sample.image.shape[:2]
    return np.array([coco_mask.area(rle_of(s, size_hw)) for s in sample.segmentations], np.float64)


def with_remains(sample: Sample, segmentations: Sequence[Segmentation], whole_px: Areas) -> Sample:
    """`sample` with what is left of its instances.

    An instance that lost pixels gets the box of those it has. One goes when it has no pixel, a side
    of its box is below `LEAST_SIDE_PX`, or it has neither `LEAST_AREA_PX` pixels nor `LEAST_SHARE`
    of those it had. Crowds alike.

    Args:
        sample: the picture, and boxes as they are where nothing was lost.
        segmentations: what is left of each instance; [] is nothing.
        whole_px: (N,) pixels each instance had.
    """
    size_hw = sample.image.shape[:2]
    places = [place for place, left in enumerate(segmentations) if left]
    rles = [rle_of(segmentations[place], size_hw) for place in places]
    areas = np.array([coco_mask.area(rle) for rle in rles], np.float64)
    tight = np.array([coco_mask.toBbox(rle) for rle in rles]).reshape(-1, 4)  # x, y, width, height
    tight[:, 2:] += tight[:, :2]
    whole = whole_px[places]
    boxes = np.where((areas != whole)[:, None], tight, sample.boxes[places]).astype(np.float32)
    enough = (areas >= LEAST_AREA_PX) | (areas >= LEAST_SHARE * whole)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = np.flatnonzero(enough & (areas > 0) & (sides >= LEAST_SIDE_PX).all(axis=1))
    left = [places[place] for place in kept]
    return dataclasses.replace(
        sample.only(left),
        boxes=boxes[kept],
        segmentations=tuple(segmentations[place] for place in left),
    )
