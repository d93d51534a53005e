"""Objects of one picture over another's, to the pixel."""

import numpy as np
import pytest

from maskrt.train.data.copy_paste import overlaid, pasted
from maskrt.train.data.dataset import Sample

from .samples import as_run_lengths, sample_of, square


@pytest.fixture(params=["polygons", "run lengths"])
def below(request: pytest.FixtureRequest) -> Sample:
    """A square of 20 x 20, one apart from all else, and a crowd."""
    whole = sample_of(
        [square(5, 5, 20), square(40, 30, 10), square(15, 25, 10)], crowds=[False, False, True]
    )
    return whole if request.param == "polygons" else as_run_lengths(whole)


def layer(*segmentations: object) -> Sample:
    return sample_of(segmentations, value=200)


def test_a_pasted_square_hides_half_of_another(below: Sample) -> None:
    both = overlaid(below, layer(square(15, 5, 10, 20)))
    assert both.labels.tolist() == [0, 1, 2, 0]
    masks = both.masks()
    assert masks.sum(axis=(1, 2)).tolist() == [10 * 20, 100, 100, 10 * 20]
    assert not (masks[0] & masks[3]).any()
    assert both.boxes.tolist()[0] == [5, 5, 15, 25]
    assert both.boxes.tolist()[3] == [15, 5, 25, 25]
    assert isinstance(both.segmentations[0], dict)
    assert both.segmentations[1:3] == below.segmentations[1:3]
    assert np.array_equal(both.image == 200, np.repeat(masks[3][..., None], 3, 2) == 1)
    assert not below.image.any()


def test_what_is_hidden_wholly_or_but_for_a_sliver_goes(below: Sample) -> None:
    assert overlaid(below, layer(square(4, 4, 25))).labels.tolist() == [1, 2, 0]
    assert overlaid(below, layer(square(6, 5, 19, 20))).labels.tolist() == [0, 1, 2, 0]  # 20 of 400
    assert overlaid(below, layer(square(40, 30, 10, 9))).labels.tolist() == [0, 1, 2, 0]
    both = layer(square(41, 30, 9, 10), square(40, 30, 1, 6))
    assert overlaid(below, both).labels.tolist() == [0, 2, 0, 1]  # 4 of 100


def test_crowds_lose_what_is_hidden_and_stay_crowds(below: Sample) -> None:
    both = overlaid(below, layer(square(15, 30, 10)))
    assert both.iscrowd.tolist() == [False, False, True, False]
    assert both.boxes.tolist()[2] == [15, 25, 25, 30]
    assert both.masks()[2].sum() == 50


def test_pasted_objects_do_not_hide_each_other(below: Sample) -> None:
    both = overlaid(below, layer(square(30, 0, 12), square(36, 0, 12)))
    assert both.masks()[3:].sum(axis=(1, 2)).tolist() == [144, 144]


def test_of_a_larger_picture_objects_are_pasted_as_far_as_they_are_inside() -> None:
    below = sample_of([], (40, 60))
    other = sample_of([square(0, 0, 12), square(30, 20, 30)], (90, 100), [True])
    other.image[:] = np.arange(100, dtype=np.uint8)[None, :, None] + 100
    wide = set()
    for seed in range(60):
        both = pasted(below, other, np.random.default_rng(seed))
        assert both.labels.tolist() in ([], [1])  # never the crowd
        assert np.array_equal(both.image[..., 0] > 0, both.masks().any(axis=0))
        rows, columns = np.nonzero(both.image[..., 0])
        assert len({*(both.image[rows, columns, 0] - columns).tolist()}) <= 1  # one place
        wide.add(int(np.ptp(columns)) + 1 if len(columns) else 0)
    assert max(wide) == 30
    assert len(wide) > 5


def test_a_small_picture_s_objects_land_anywhere_in_a_larger_one() -> None:
    below, other = sample_of([], (40, 60)), sample_of([square(2, 3, 10)], (20, 20), value=9)
    corners = {
        tuple(pasted(below, other, np.random.default_rng(seed)).boxes[0, :2].tolist())
        for seed in range(200)
    }
    xs, ys = ({corner[axis] for corner in corners} for axis in (0, 1))
    assert (min(xs), max(xs)) == (2, 42)
    assert (min(ys), max(ys)) == (3, 23)


def test_of_several_any_number_is_pasted() -> None:
    below = sample_of([])
    other = sample_of([square(0, 0, 9), square(20, 0, 9), square(40, 0, 9)])
    chosen = {
        tuple(pasted(below, other, np.random.default_rng(seed)).labels.tolist())
        for seed in range(100)
    }
    assert len(chosen) == 7  # every choice but none


def test_a_picture_of_crowds_gives_nothing(below: Sample) -> None:
    other = sample_of([square(0, 0, 9)], crowds=[True])
    assert pasted(below, other, np.random.default_rng(0)) is below
