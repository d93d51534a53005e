"""Tiles of a picture, and their instances put together."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.errors import InputError
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.runtime.tiles.grid import tile_size
from maskrt.runtime.tiles.merging import View, merged, moved
from maskrt.runtime.tiles.predictor import TiledPredictor, in_tiles

HW = (300, 400)


def found(boxes, scores, labels=None, hw=HW):
    """Instances whose masks fill their boxes."""
    count = len(boxes)
    return Instances(
        image_hw=hw,
        boxes=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels or [0] * count, np.int32),
        mask_probs=np.ones((count, 7, 7), np.float32),
        class_names=("cup", "pen"),
    )


def view(boxes, scores, cut=None, rank=0, labels=None):
    return View(found(boxes, scores, labels), np.array(cut or [False] * len(boxes)), rank)


def test_tiles_cover_the_picture_and_overlap_as_asked():
    size = tile_size(640, 100)
    tiles = size.tiles((4000, 6000))
    seen = np.zeros((4000, 6000), np.bool_)
    for tile in tiles:
        assert (tile.bottom - tile.top, tile.right - tile.left) == (640, 640)
        seen[tile.top : tile.bottom, tile.left : tile.right] = True
    assert seen.all()
    lefts = sorted({tile.left for tile in tiles})
    assert min(640 - np.diff(lefts)) >= 100
    assert len(tiles) == 8 * 11
    assert size.tiles((640, 300))[0] == size.tiles((640, 300))[-1]


@pytest.mark.parametrize(("side", "overlap"), [(63, None), (640, -1), (640, 320)])
def test_impossible_tiles_are_refused(side, overlap):
    with pytest.raises(InputError, match="tiles of"):
        tile_size(side, overlap)


def test_only_borders_inside_the_picture_cut():
    first, last = tile_size(200, 40).tiles((200, 360))
    at_left, at_right = [0, 50, 60, 90], [150, 50, 199, 90]
    boxes = np.array([at_left, at_right], np.float32)
    assert first.cut(boxes, (200, 360)).tolist() == [False, True]
    assert last.cut(boxes + np.float32([160, 0, 160, 0]), (200, 360)).tolist() == [True, False]


def test_masks_of_a_tile_move_to_the_picture():
    tile = found([[10, 20, 50, 60]], [0.9], hw=(100, 100))
    (rle,) = moved(tile, 200, 300, HW).rles()
    assert coco_mask.toBbox(rle).tolist() == [310, 220, 40, 40]
    assert rle["size"] == [*HW]


def test_who_sees_the_object_whole_wins_however_sure_the_other_is():
    whole = view([[100, 100, 160, 160]], [0.6])
    part = view([[100, 100, 130, 160]], [0.99], cut=[True])
    result = merged([part, whole])
    assert result.boxes.tolist() == [[100, 100, 160, 160]]
    assert result.scores == np.float32(0.6)


def test_a_cut_one_that_nobody_sees_whole_is_kept():
    result = merged([view([[0, 0, 200, 50]], [0.5], cut=[True]), view([], [])])
    assert len(result) == 1


def test_neighbours_other_classes_and_one_views_own_are_kept():
    close = [[10, 10, 50, 50], [12, 10, 52, 50]]  # one view: the network told them apart
    other = [[10, 10, 50, 50]]
    result = merged([view(close, [0.9, 0.8]), view(other, [0.7], labels=[1])])
    assert len(result) == 3
    beside = merged([view([[10, 10, 50, 50]], [0.9]), view([[45, 10, 85, 50]], [0.8])])
    assert len(beside) == 2


def test_the_same_object_in_two_tiles_is_one_and_the_best_first():
    result = merged(
        [view([[10, 10, 50, 50]], [0.7]), view([[11, 10, 51, 50], [200, 10, 250, 90]], [0.8, 0.9])]
    )
    assert result.scores.tolist() == np.float32([0.9, 0.8]).tolist()


def test_a_large_object_comes_from_the_whole_picture():
    large = [[20, 20, 380, 280]]
    pieces = view([[20, 20, 200, 200]], [0.95], cut=[True])
    small_too = view([[300, 100, 320, 120]], [0.6])
    whole = view([*large, [301, 100, 321, 121]], [0.8, 0.9], rank=1)
    result = merged([pieces, small_too, whole])
    assert sorted(result.boxes.tolist()) == sorted([*large, [300, 100, 320, 120]])


@pytest.fixture
def predictor(write_onnx, tiny_contract):
    """Finds the whole picture and its lower right quarter, whatever is in it."""
    with Predictor(OrtSession(write_onnx(tiny_contract.to_json()), threads=1)) as opened:
        yield opened


def test_what_every_tile_cuts_comes_from_the_whole(predictor):
    image = np.full((200, 300, 3), 200, np.uint8)
    (whole,) = predictor.predict(image)
    tiled = TiledPredictor(predictor, 100)
    (result,) = tiled.predict(image)
    assert len(tiled.size.tiles((200, 300))) == 12
    assert result.image_hw == (200, 300)
    of_the_first = result.boxes[result.labels == whole.labels[0]].tolist()
    assert of_the_first == [whole.boxes[0].tolist()] == [[0, 0, 300, 200]]
    assert tiled.looked_at((200, 300)) == (100, 100)


def test_a_small_picture_is_taken_as_it_is(predictor):
    image = np.full((90, 100, 3), 200, np.uint8)
    (expected,), (result,) = predictor.predict(image), TiledPredictor(predictor, 100).predict(image)
    assert np.array_equal(result.boxes, expected.boxes)
    assert result.rles() == expected.rles()


def test_an_overlap_without_tiles_is_refused(predictor):
    assert in_tiles(predictor, None, None) is predictor
    with pytest.raises(InputError, match="overlap of 20 px without tiles"):
        in_tiles(predictor, None, 20)
