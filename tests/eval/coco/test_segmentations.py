"""Masks that pycocotools may see, and those that would crash or stall it."""

from pathlib import Path

import numpy as np
import pytest

from maskrt.eval.coco.rows import Row
from maskrt.eval.coco.segmentations import checked_segmentation, mask_area, run_lengths
from maskrt.runtime.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
coco_mask = pytest.importorskip("pycocotools.mask")

HW = (48, 64)
SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]
NAN = float("nan")


def checked(segmentation, image_hw=HW):
    row = Row(Path("f.json"), "annotations", 4, {"segmentation": segmentation})
    return checked_segmentation(row, image_hw)


def random_rle(seed):
    """A mask of noise, blocks or one value, in both forms, and its pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.random(HW) < rng.choice([0, 0.02, 0.5, 1])
    mask = np.asfortranarray(mask.repeat(1 + seed % 3, axis=0)[: HW[0]], np.uint8)
    compressed = coco_mask.encode(mask)["counts"].decode()
    flips = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
    runs = np.diff(np.concatenate([[0], flips, [mask.size]]))
    return compressed, runs, int(mask.sum())


@pytest.mark.parametrize("seed", range(12))
def test_run_lengths_are_pycocotools_own(seed):
    compressed, runs, area = random_rle(seed)
    decoded = run_lengths(compressed)
    assert decoded.tolist() == [run for i, run in enumerate(runs) if run or i < len(runs) - 1]
    for counts in (compressed, runs.tolist()):
        rle = {"size": list(HW), "counts": counts}
        assert checked(rle) == rle
        assert mask_area(rle, HW) == area


def test_the_area_of_polygons_is_that_of_their_union():
    assert checked([SQUARE, []]) == [SQUARE]
    assert mask_area([SQUARE, SQUARE], HW) == 400


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (SQUARE, "segmentation is .*expected a list of polygons, each a list .* own brackets"),
        ([[[1, 2], [3, 4], [5, 6]]], r"segmentation\[0\] is .*expected numbers x, y"),
        ([SQUARE, ["1"] * 8], r"segmentation\[1\] is .*expected numbers"),
        ([{}], "expected a list of polygons"),
        (3, "is 3; expected a list of polygons or an RLE"),
        ([[1, 2, 3, 4]], "holds 4 numbers, .*expected pairs x, y of three corners or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "holds 7 numbers"),
        ([[NAN, *SQUARE[1:]]], r"segmentation\[0\] holds nan; expected pixels from -64 to 128"),
        ([[*SQUARE[:5], NAN, *SQUARE[6:]]], "holds nan"),
        ([[1e9, 1e9, -1e9, 1e9, 1, 1]], "holds 1000000000.0"),
        ([[10**400, NAN, 1, 1.5, 1, 1]], "expected pixels from"),
        ([[0, 0, 128, 0] * 9000], "has an outline of 2304000 pixels; expected at most 1000000"),
        ([[0, 0, 128, 0, 0, 0]] * 9000, "has an outline of 2304000 pixels"),
        ({"size": [64, 48], "counts": [3072]}, r"is \[64, 48\], which is width and height"),
        ({"size": [9, 9], "counts": [81]}, r"size is \[9, 9\]; expected \[48, 64\]"),
        ({"counts": [3072]}, "segmentation.size is null"),
        ({"size": [48, 64]}, "counts is null .neither a list of whole numbers nor text"),
        ({"size": [48, 64], "counts": [970, 28]}, "adds up to 998; expected .* up to 3072"),
        ({"size": [48, 64], "counts": [-5, 3077]}, "adds up to 3072, the least -5"),
        ({"size": [48, 64], "counts": [2**63, 2**63]}, "a run longer than any picture"),
        ({"size": [48, 64], "counts": [1.5, 3070.5]}, "neither a list of whole numbers"),
        ({"size": [48, 64], "counts": []}, "adds up to 0"),
        ({"size": [48, 64], "counts": ""}, "adds up to 0"),
        ({"size": [48, 64], "counts": "zzzzzzzzzzzz"}, "text that is no run-length code"),
        ({"size": [48, 64], "counts": "oooo"}, "text that is no run-length code"),
        ({"size": [48, 64], "counts": "o" * 9 + "0"}, "a run longer than any picture"),
        ({"size": [48, 64], "counts": "\u00e9"}, "counts is "),
    ],
)
def test_what_pycocotools_must_not_see_is_refused(segmentation, message):
    with pytest.raises(InputError, match=message) as caught:
        checked(segmentation)
    assert str(caught.value).startswith("f.json: annotations[4].segmentation")


@pytest.mark.parametrize("segmentation", [None, [], [[]], [[], []]])
def test_no_mask_is_none(segmentation):
    assert checked(segmentation) is None
