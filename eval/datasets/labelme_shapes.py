"""labelme's shapes as COCO masks: polygons, rectangles, circles and bitmaps; one group one object.

Coordinates are pixel edges of the picture as labelme showed it, which older versions did without
regard to its EXIF orientation.
Source: wkentaro/labelme, labelme/utils/shape.py.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.results.rle import rle_from_crop
from ..coco.rows import is_number, shown
from .picture_sizes import Size

IGNORED = ("__ignore__", "_background_")
"""Labels of what is no object."""
_OUTLINES = ("polygon", "rectangle", "oriented_rectangle", "circle")
_CIRCLE = 64  # corners
_BEYOND = 2.0  # sides of the picture; nobody draws further outside
_REMEDY = "Draw it again in labelme."

Mask = npt.NDArray[np.bool_]
Polygon = list[tuple[float, float]]


def objects_of(
    file: Path, shapes: Sequence[dict[str, Any]], labelled_hw: Size, turn: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label and COCO's `bbox` and `segmentation` of each object of a picture.

    Args:
        file: labelme's, for errors.
        shapes: its shapes, each with a label.
        labelled_hw: height and width of the picture that was labelled.
        turn: EXIF orientation by which the picture is turned after that; 1 leaves it.

    Raises:
        InputError: a shape is not as labelme writes it.
    """
    for places in _groups(shapes):
        label = shapes[places[0]]["label"]
        kinds = {shapes[place].get("shape_type") or "polygon" for place in places}
        if label in IGNORED:
            continue
        if kinds == {"mask"}:
            yield label, _of_mask(file, shapes, places, labelled_hw, turn)
        elif kinds <= set(_OUTLINES):
            yield label, _of_polygons(file, shapes, places, labelled_hw, turn)
        elif "mask" in kinds:
            raise _refused(file, places[0], f"a mask in a group of {len(places)} shapes", "masks")
        else:  # a point or a line, which has no area
            yield label, {"bbox": [0, 0, 0, 0], "segmentation": None}


def _groups(shapes: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Places of the shapes of each object: those of one label and group are one."""
    groups: dict[Any, list[int]] = {}
    for place, shape in enumerate(shapes):
        group = shape.get("group_id")
        key = place if group is None else (shape["label"], str(group))
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _of_polygons(
    file: Path, shapes: Sequence[dict[str, Any]], places: Sequence[int], hw: Size, turn: int
) -> dict[str, Any]:
    outlines = [_outline(file, place, shapes[place], hw) for place in places]
    turned = [[_turned(point, hw, turn) for point in outline] for outline in outlines]
    xs, ys = zip(*(point for outline in turned for point in outline), strict=True)
    polygons = [[value for point in outline for value in point] for outline in turned]
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return {"bbox": box, "segmentation": polygons}


def _outline(file: Path, place: int, shape: dict[str, Any], hw: Size) -> Polygon:
    """Corners of a shape."""
    kind, points = shape.get("shape_type") or "polygon", _points(file, place, shape, hw)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    if kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], math.dist(*points)
        angles = (2 * math.pi * step / _CIRCLE for step in range(_CIRCLE))
        return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
    if len(points) < 3:
        raise _refused(file, place, f"a {kind} of {len(points)} points", "three or more")
    return points


def _points(file: Path, place: int, shape: dict[str, Any], hw: Size) -> Polygon:
    points = shape.get("points")
    whole = isinstance(points, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point))
        for point in points
    )
    if not whole or points is None:
        raise _refused(file, place, f"points {shown(points)}", "pairs x, y")
    limit = _BEYOND * max(hw)
    far = next((p for p in points if not all(abs(value) <= limit for value in p)), None)
    if far is not None:  # NaN is too
        raise _refused(file, place, f"the point {shown(far)}", f"points up to {limit:g}")
    return [(float(x), float(y)) for x, y in points]


def _turned(point: tuple[float, float], hw: Size, turn: int) -> tuple[float, float]:
    (x, y), (height, width) = point, hw
    return {5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x)}.get(
        turn, point
    )


def _of_mask(
    file: Path, shapes: Sequence[dict[str, Any]], places: Sequence[int], hw: Size, turn: int
) -> dict[str, Any]:
    mask = np.zeros(hw, np.bool_)
    for place in places:
        _put(mask, file, place, shapes[place])
    mask = _turned_mask(mask, turn)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return {"bbox": [0, 0, 0, 0], "segmentation": None}
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"bbox": box, "segmentation": rle_from_crop(mask, (0, 0), mask.shape)}


def _put(mask: Mask, file: Path, place: int, shape: dict[str, Any]) -> None:
    """Set what the bitmap of a shape covers: a PNG from the first of its two points on."""
    height, width = mask.shape
    points = _points(file, place, shape, (height, width))
    bitmap = _decoded(shape.get("mask"), (height, width))
    if bitmap is None or len(points) != 2:
        raise _refused(file, place, "a mask that does not decode", "a PNG and two points")
    x, y = (max(round(value), 0) for value in points[0])
    part = mask[y : y + bitmap.shape[0], x : x + bitmap.shape[1]]
    part |= bitmap[: part.shape[0], : part.shape[1]] > 0


def _decoded(text: Any, most_hw: Size) -> npt.NDArray[Any] | None:
    """(h, w) uint8 of a PNG in base 64; None where it is none, or larger than the picture."""
    import cv2

    try:
        data = base64.b64decode(text)
        width, height = struct.unpack(">II", data[16:24])
        # before OpenCV takes as much memory as the file says
        if height > most_hw[0] or width > most_hw[1] or not _has_whole_chunks(data):
            return None
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (TypeError, ValueError, struct.error, cv2.error):
        return None


def _has_whole_chunks(png: bytes) -> bool:
    """Whether the chunks' lengths lead to the end."""
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        place += 12 + length
    return place == len(png)


def _turned_mask(mask: Mask, turn: int) -> Mask:
    if turn == 5:
        return mask.T
    if turn == 7:
        return np.rot90(mask.T, 2)
    return np.rot90(mask, {6: -1, 8: 1}.get(turn, 0))


def _refused(file: Path, place: int, found: str, expected: str) -> InputError:
    return InputError(f"{file}: shapes[{place}] is {found}; expected {expected}. {_REMEDY}")
