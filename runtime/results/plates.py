"""Where the names of instances are written, so that none covers another.

Each name has a plate. Going from the best instance down, a plate takes the first free place along
its box: above it, inside at the top, below, then down its sides. Where all are taken the name is
left away: one that stood elsewhere would be read as another object's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Place = tuple[int, int]
"""Left and top of a plate, in pixels."""


def plate_places(
    sizes_wh: Sequence[tuple[int, int]],
    boxes: npt.NDArray[np.float32],
    image_hw: tuple[int, int],
) -> list[Place | None]:
    """A free place for each plate, None where there is none; the first ones choose first.

    Args:
        sizes_wh: N widths and heights in pixels.
        boxes: (N, 4) float32 xyxy in pixels of the picture.
        image_hw: of the picture; a plate larger than it begins at its edge and reaches out.
    """
    taken = np.zeros((0, 4), dtype=np.int64)
    found: list[Place | None] = []
    for (width, height), box in zip(sizes_wh, boxes.round().astype(np.int64), strict=True):
        room = (max(image_hw[1] - width, 0), max(image_hw[0] - height, 0))
        plates = (
            np.array((x, y, x + width, y + height)) for x, y in _along(box, (width, height), room)
        )
        plate = next((one for one in plates if not _meets(one, taken)), None)
        if plate is None:
            found.append(None)
            continue
        taken = np.concatenate((taken, plate[None]))
        found.append((int(plate[0]), int(plate[1])))
    return found


def _along(box: Ints, size_wh: tuple[int, int], room: tuple[int, int]) -> Iterator[Place]:
    """Places along a box, nearest to where a name is looked for first, all in the picture."""
    x0, y0, x1, y1 = (int(side) for side in box)
    width, height = size_wh
    rows = [y0 - height, y0, y1, *range(y0 + height, y1, height)]
    if y0 < height:  # no room above
        rows = rows[1:]
    for y in rows:
        for x in (x0, x1 - width):
            yield min(max(x, 0), room[0]), min(max(y, 0), room[1])


def _meets(plate: Ints, taken: Ints) -> bool:
    """Whether a plate, xyxy, covers a pixel of one of these."""
    first, last = np.maximum(plate[:2], taken[:, :2]), np.minimum(plate[2:], taken[:, 2:])
    return bool((first < last).all(axis=1).any())
