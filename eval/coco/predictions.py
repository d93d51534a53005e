"""A model run over a data set, kept small: boxes, scores, labels and run-length masks per picture.

Bitmaps of a few thousand pictures do not fit in memory, their RLEs do, and both the COCO metric
and the parity comparison read RLE. One pass here serves accuracy, parity and the example pictures
alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.predictor import Predictor
from ...runtime.results.instances import Instances
from ...runtime.results.rle import Rle
from .accuracy import KINDS, Kind
from .data import CocoData, category_ids_for
from .pictures import ImageRecord, read_record

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a model found in one picture, N instances, highest score first."""

    image_id: int
    image_hw: tuple[int, int]
    boxes: Float
    """(N, 4) float32 xyxy in pixels of the original picture."""
    scores: Float
    """(N,) float32 in [0, 1]."""
    labels: npt.NDArray[np.int32]
    """(N,) int32, the model's own labels 0..C-1."""
    rles: tuple[Rle, ...] | None
    """N COCO run-length masks of the original picture: {"size": [H, W], "counts": text}; None of a
    model that gives boxes alone."""
    frames: Float | None = None
    """(N, 4) float32 xyxy in pixels, the windows of proposals; None for instances."""

    def __len__(self) -> int:
        return len(self.scores)


def prediction_from_instances(image_id: int, instances: Instances) -> Prediction:
    """Keep what metrics need of `instances`, sorted by falling score (equal scores keep order)."""
    order = np.argsort(-instances.scores, kind="stable")
    rles = None if instances.mask_probs is None else instances.rles()
    return Prediction(
        image_id=image_id,
        image_hw=instances.image_hw,
        boxes=instances.boxes[order].astype(np.float32),
        scores=instances.scores[order].astype(np.float32),
        labels=instances.labels[order].astype(np.int32),
        rles=None if rles is None else tuple(rles[int(index)] for index in order),
        frames=None if instances.frames is None else instances.frames[order],
    )


def predict_data(
    predictor: Predictor, data: CocoData, *, progress: bool = True
) -> list[Prediction]:
    """Run a model over every picture of `data`, in order, in batches of its contract.

    Args:
        predictor: an opened model.
        data: pictures to run on; `data.first(n)` for fewer.
        progress: show a bar on standard error.

    Raises:
        InputError: the model's classes are not the data's (proposals have none and are not asked),
            or a picture cannot be read or has another size than the annotation file states.
    """
    require_classes(predictor, data)
    batches = _batches(data.images, predictor.at_once)
    description = f"{predictor.contract.variant} {predictor.contract.precision}"
    if progress:
        title = f"{description} on {predictor.session.backend}"
        batches = _with_progress(batches, title, len(data.images))
    found: list[Prediction] = []
    for records in batches:
        found += predict_records(predictor, records)
    return found


def require_classes(predictor: Predictor, data: CocoData) -> None:
    """Check that the model's classes are the data's; proposals have none and are not asked.

    Raises:
        InputError: they differ.
    """
    if predictor.contract.task != "proposals":
        category_ids_for(data, predictor.contract.class_names, predictor.contract.variant)


def predict_records(predictor: Predictor, records: Sequence[ImageRecord]) -> list[Prediction]:
    """Run a model over some pictures at once, in order.

    Raises:
        InputError: a picture cannot be read or has another size than the annotation file states.
    """
    results = predictor.predict([read_record(record) for record in records])
    return [
        prediction_from_instances(record.image_id, instances)
        for record, instances in zip(records, results, strict=True)
    ]


def coco_rows(
    predictions: Sequence[Prediction], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """COCO result rows with `bbox` (xywh) and, of masks, `segmentation`, as result files hold."""
    rows = []
    for prediction in predictions:
        for index in range(len(prediction)):
            x0, y0, x1, y1 = (float(value) for value in prediction.boxes[index])
            rows.append(
                {
                    "image_id": prediction.image_id,
                    "category_id": int(category_ids[int(prediction.labels[index])]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(prediction.scores[index]),
                    **({"segmentation": prediction.rles[index]} if prediction.rles else {}),
                }
            )
    return rows


def kinds_of(predictions: Sequence[Prediction]) -> tuple[Kind, ...]:
    """What can be measured: boxes and masks, or boxes alone."""
    return ("box",) if any(p.rles is None for p in predictions) else KINDS


def _batches(images: Sequence[ImageRecord], batch: int) -> Iterator[Sequence[ImageRecord]]:
    for start in range(0, len(images), batch):
        yield images[start : start + batch]


def _with_progress(
    batches: Iterator[Sequence[ImageRecord]], title: str, total: int
) -> Iterator[Sequence[ImageRecord]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(title), total=total)
        for records in batches:
            yield records
            bar.advance(task, len(records))
