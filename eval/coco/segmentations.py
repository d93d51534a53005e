"""Masks as COCO files hold them, checked so that pycocotools can rasterize what is left.

Polygons are lists of pixel-edge coordinates x, y, x, y, ...; an RLE counts runs of 0 and 1 down the
columns, as a list or compressed to text. pycocotools believes both: a coordinate of 1e9 or NaN ends
the process, runs that do not fill the picture never end.

Source of the compressed form: the COCO API's maskApi.c, rleFrString.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .rows import Row, shown

Segmentation = list[list[float]] | dict[str, Any]
"""COCO's own: polygons [[x, y, x, y, ...], ...] in pixel-edge coordinates, or an RLE."""

_CORNERS = 3
_LONGEST_OUTLINE_PX = 1_000_000  # of all parts; pycocotools takes some 100 bytes for each
_GROUP = 7  # characters of 5 bits each that a run length up to 2**30 takes


def checked_segmentation(row: Row, image_hw: tuple[int, int]) -> Segmentation | None:
    """The mask of an annotation; None where it has none: absent, null, [] or [[]].

    Raises:
        InputError: it is neither polygons near the picture nor an RLE that fills it.
    """
    value = row.values.get("segmentation")
    if value is None:
        return None
    if isinstance(value, dict):
        _check_rle(row, value, image_hw)
        return {"size": [*image_hw], "counts": value["counts"]}
    if not isinstance(value, list):
        raise row.refused("segmentation", "a list of polygons or an RLE")
    parts = [part for part in value if part != []]
    for place, part in enumerate(parts):
        _check_polygon(row, place, part, max(image_hw))
    if sum(map(len, parts)) * max(image_hw) > _LONGEST_OUTLINE_PX:
        _check_outline(row, parts)
    return parts or None


def mask_area(segmentation: Segmentation, image_hw: tuple[int, int]) -> float:
    """Number of pixels inside a checked segmentation of a picture of `image_hw`."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = run_lengths(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
        return float(runs[1::2].sum())
    from pycocotools import mask as coco_mask

    return float(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(segmentation, *image_hw))))


def reach(image_side_px: int) -> tuple[int, int]:
    """The least and greatest coordinate in pixels that is believed: a picture's side beyond it."""
    return -image_side_px, 2 * image_side_px


def run_lengths(counts: str) -> npt.NDArray[np.int64]:
    """Run lengths of a compressed RLE, (R,), not yet known to fit a picture.

    Groups of characters, 5 bits each from the lowest up, the sixth bit set in all but the last,
    hold signed numbers; from the fourth on each is the difference to the one two before it.

    Raises:
        ValueError: the text is no such code.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not codes.size:
        return np.zeros(0, np.int64)
    last = codes & 32 == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("text that is no run-length code")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _GROUP:
        raise ValueError("a run longer than any picture")
    place = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = codes[ends] & 16 != 0
    values[negative] -= np.int64(1) << (5 * (place[ends[negative]] + 1))
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def _check_polygon(row: Row, place: int, part: Any, side_px: int) -> None:
    field = f"segmentation[{place}]"
    if not isinstance(part, list):
        raise row.refused(
            "segmentation", "a list of polygons, each a list x, y, x, y, ... in its own brackets"
        )
    if not set(map(type, part)) <= {int, float}:
        raise row.refused(field, "numbers x, y, x, y, ...", f"is {shown(part)}")
    if len(part) % 2 or len(part) < 2 * _CORNERS:
        raise row.refused(
            field,
            "pairs x, y of three corners or more",
            f"holds {len(part)} numbers, {shown(part)}",
        )
    low, high = reach(side_px)
    least, greatest = min(part), max(part)
    # NaN compares as false, but min and max may step over it; a sum does not
    if not (low <= least and greatest <= high and sum(part) == sum(part)):
        outside = next(value for value in part if not low <= value <= high)
        raise row.refused(field, f"pixels from {low} to {high}", f"holds {shown(outside)}")


def _check_outline(row: Row, parts: list[list[float]]) -> None:
    corners = [np.asarray(part, np.float64).reshape(-1, 2) for part in parts]
    closed = [np.concatenate([points, points[:1]]) for points in corners]
    length = sum(np.abs(np.diff(points, axis=0)).max(axis=1).sum() for points in closed)
    if length > _LONGEST_OUTLINE_PX:
        found = f"has an outline of {length:.0f} pixels"
        raise row.refused("segmentation", f"at most {_LONGEST_OUTLINE_PX}", found)


def _check_rle(row: Row, rle: dict[str, Any], image_hw: tuple[int, int]) -> None:
    size, counts = rle.get("size"), rle.get("counts")
    if size != [*image_hw]:
        swapped = size == [*image_hw[::-1]]
        why = ", which is width and height" if swapped else ""
        raise row.refused(
            "segmentation.size",
            f"{[*image_hw]}, height and width of its picture",
            f"is {shown(size)}{why}",
        )
    try:
        runs = _runs(counts)
    except (ValueError, OverflowError) as err:
        expected = "run lengths, as a list or compressed"
        raise row.refused("segmentation.counts", expected, f"is {shown(counts)} ({err})") from err
    total, pixels = int(runs.sum()), image_hw[0] * image_hw[1]
    if total != pixels or runs.min() < 0:
        least = f", the least {runs.min()}" if runs.size and runs.min() < 0 else ""
        raise row.refused(
            "segmentation.counts",
            f"run lengths of 0 or more that add up to {pixels}, the picture's pixels",
            f"adds up to {total}{least}",
        )


def _runs(counts: Any) -> npt.NDArray[np.int64]:
    if isinstance(counts, str):
        return run_lengths(counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise ValueError("neither a list of whole numbers nor text")
    # a sum of lengths below this cannot wrap
    if counts and not -(2**31) < min(counts) <= max(counts) < 2**31:
        raise ValueError("a run longer than any picture")
    return np.asarray(counts, np.int64)
