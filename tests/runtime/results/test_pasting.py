"""Boxes read from COCO's counts, against those of the pixels and pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.results.masks import foreground_box
from maskrt.runtime.results.pasting import box_from_counts
from maskrt.runtime.results.rle import compress, counts_from_crop


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_box_of_counts_is_that_of_the_pixels(share: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        height, width = rng.integers(1, 9, 2)
        mask = rng.random((height, width)) < share
        counts = counts_from_crop(mask, (0, 0), (height, width))
        box = box_from_counts(counts, height)
        assert box == foreground_box(mask, (0, 0))
        x, y, w, h = coco_mask.toBbox(compress([counts], (height, width))[0])
        assert box == (x, y, x + w, y + h)


def test_a_run_around_a_columns_end_covers_the_whole_height() -> None:
    assert box_from_counts(np.array([4, 2, 4]), 5) == (0, 0, 2, 5)
