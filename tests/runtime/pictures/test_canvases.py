"""Which canvas a picture goes to, against an exact brute force, and what is told of losses."""

from __future__ import annotations

from fractions import Fraction

import pytest

from maskrt.runtime.contract import ResizeRule
from maskrt.runtime.pictures.canvases import CanvasLosses, choose_canvas, choose_canvas_for_all

HW = tuple[int, int]
MASK_RCNN = ResizeRule(short_side_px=800, long_side_px=1333)
FASTMASK = ResizeRule(short_side_px=0, long_side_px=1300, multiple_px=4)
BOTH: tuple[HW, ...] = ((800, 1344), (1344, 800))
BUCKETS: tuple[HW, ...] = (
    *((800, 1200), (1200, 800), (800, 1072), (1072, 800), (752, 1344), (1344, 752), (800, 800)),
)
SHAPES: tuple[HW, ...] = (
    # phones and cameras
    *((3024, 4032), (4032, 3024), (4000, 6000), (6000, 4000), (2160, 3840), (3840, 2160)),
    *((1080, 1920), (1920, 1080), (1080, 1080), (1350, 1080), (1080, 1350), (1920, 886)),
    # data sets
    *((480, 640), (640, 480), (427, 640), (640, 427), (375, 500), (500, 375), (612, 612)),
    *((333, 500), (500, 333), (640, 640), (424, 640), (640, 424), (1024, 2048), (720, 1280)),
    # panoramas, banners, pages, slivers
    *((600, 3600), (3600, 600), (90, 728), (728, 90), (3508, 2480), (2480, 3508), (1, 1000)),
    *((1000, 1), (1, 1), (2, 3), (3, 2), (7, 9), (10000, 10000), (100, 101), (101, 100)),
    # in between
    *((500, 530), (530, 500), (900, 1000), (1000, 900), (700, 1300), (1300, 700), (801, 1333)),
    *((1333, 801), (800, 1344), (1344, 800), (563, 1000), (1000, 563)),
)


def kept_px(image_hw: HW, rule: ResizeRule, canvas_hw: HW) -> int:
    """In exact fractions, written apart from `scaled_size_hw`."""
    limits = [
        Fraction(rule.long_side_px, max(image_hw)),
        Fraction(rule.short_side_px, min(image_hw)),
        *(Fraction(room, side) for room, side in zip(canvas_hw, image_hw, strict=True)),
    ]
    scale = min(limits)
    sides = [max(1, (side * scale + Fraction(1, 2)).__floor__()) for side in image_hw]
    return sides[0] * sides[1]


def test_there_are_fifty_shapes() -> None:
    assert len(set(SHAPES)) == len(SHAPES) >= 50


@pytest.mark.parametrize("canvases", [BOTH, BUCKETS], ids=["both orientations", "buckets"])
def test_a_picture_goes_to_the_canvas_that_keeps_most_of_it_else_to_the_smaller(
    canvases: tuple[HW, ...],
) -> None:
    for image_hw in SHAPES:
        # every canvas beats the chosen one in nothing: pixels, then area, then place
        chosen = choose_canvas(image_hw, MASK_RCNN, canvases)
        worth = [
            (-kept_px(image_hw, MASK_RCNN, hw), hw[0] * hw[1], place)
            for place, hw in enumerate(canvases)
        ]
        assert worth[chosen] == min(worth), image_hw


def test_orientations_are_told_apart_and_square_pictures_take_the_first() -> None:
    chosen = [choose_canvas(hw, MASK_RCNN, BOTH) for hw in ((480, 640), (640, 480), (612, 612))]
    assert chosen == [0, 1, 0]


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw"),
    [
        ((480, 640), (972, 1300)),
        ((640, 480), (1300, 972)),
        ((1080, 1920), (728, 1300)),
        ((2000, 3000), (864, 1300)),
        ((500, 500), (1300, 1300)),
    ],
)
def test_fastmask_fills_the_bucket_of_its_shape(image_hw: HW, canvas_hw: HW) -> None:
    buckets = ((864, 1300), (972, 1300), (1300, 972), (728, 1300), (1300, 1300))
    assert buckets[choose_canvas(image_hw, FASTMASK, buckets)] == canvas_hw


def test_pictures_that_share_a_canvas_lose_least_together() -> None:
    landscape, portrait = (480, 640), (640, 480)
    assert choose_canvas_for_all([landscape, portrait, portrait], MASK_RCNN, BOTH) == 1
    assert choose_canvas_for_all([landscape, landscape, portrait], MASK_RCNN, BOTH) == 0


def test_a_run_is_told_once_what_it_lost() -> None:
    losses = CanvasLosses(MASK_RCNN, BOTH[:1])
    for image_hw in ((600, 800), (800, 600), (800, 600), (500, 500)):
        losses.add(image_hw)
    assert (losses.pictures, losses.shrunk) == (4, 2)
    assert losses.lost_share == pytest.approx(1 - (800 * 600) / (1067 * 800))
    assert losses.sentence is not None
    assert losses.sentence.startswith("2 of 4 pictures lose 44% of the pixels")
    assert "to the canvas 800x1344. For other shapes export a bundle" in losses.sentence


def test_nothing_is_said_where_rounding_alone_took_pixels() -> None:
    losses = CanvasLosses(FASTMASK, [(972, 1300)])
    for image_hw in ((480, 640), (479, 640), (375, 500), (1080, 1920)):
        losses.add(image_hw)
    assert (losses.pictures, losses.shrunk, losses.sentence) == (4, 0, None)
    several = CanvasLosses(FASTMASK, [(972, 1300), (1300, 972)])
    several.add((500, 500))
    assert several.sentence is not None
    assert "the canvases 972x1300 and 1300x972" in several.sentence
    assert "--canvas buckets" in several.sentence
