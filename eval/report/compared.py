"""What several artefacts found in one picture, drawn beside each other for a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...runtime.results.drawing import Crop, draw_overlay
from ...runtime.results.side_by_side import side_by_side
from ..coco.pictures import ImageRecord, read_record
from ..coco.predictions import Prediction
from .overlays import mask_of_rle
from .pictures import SHOWN_SCORE


def compared_picture(
    record: ImageRecord,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    class_names: Sequence[str],
) -> npt.NDArray[np.uint8]:
    """A picture with what each artefact found from `SHOWN_SCORE` on, in a row.

    Args:
        record: the picture.
        predictions: of it, one for each artefact.
        names: of the artefacts, written above.
        class_names: of all their labels.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        InputError: the picture is broken.
    """
    image = read_record(record)
    return side_by_side([_drawn(image, one, class_names) for one in predictions], names)


def _drawn(
    image: npt.NDArray[np.uint8], prediction: Prediction, class_names: Sequence[str]
) -> npt.NDArray[np.uint8]:
    shown = np.flatnonzero(prediction.scores >= SHOWN_SCORE)
    labels = prediction.labels[shown].tolist()
    rles = prediction.rles

    def crop(index: int) -> Crop:
        assert rles is not None
        return mask_of_rle(rles[shown[index]]).astype(np.bool_), (0, 0)

    return draw_overlay(
        image,
        prediction.boxes[shown],
        prediction.scores[shown],
        [class_names[label] for label in labels],
        labels,
        None if rles is None else crop,
    )
