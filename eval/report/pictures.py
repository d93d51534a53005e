"""Pictures with instances over them, for the pages: what a model found beside the ground truth.

Both sides are drawn alike from run-length masks, one colour per class, so that a difference on the
page is a difference of the results. `Instances.draw` colours single instances instead.

A thousand proposals hide the picture and the few best by score often lie on one object, so of
proposals each object's best cover is drawn, in that object's colour on both sides, as the FastMask
paper shows its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coco.accuracy import Metric
from ..coco.data import CocoData
from ..coco.pictures import ImageRecord, read_record
from ..coco.predictions import Prediction
from .overlays import Overlay, box_of, colour_of, jpeg_of, mask_of_rle, outline_of_mask

SHOWN_SCORE = 0.5
MATCHED_PROPOSALS = 100
MATCHED_IOU = 0.5


@dataclass(frozen=True)
class View:
    """A picture with instances over it."""

    caption: str
    """What they are and how many."""
    overlays: tuple[Overlay, ...]
    """The first one on top."""


@dataclass(frozen=True)
class Picture:
    """A picture for a page, once or several times beside each other with other instances."""

    title: str
    jpeg: bytes
    """Without any of them."""
    image_hw: tuple[int, int]
    """Of the picture that boxes and outlines are in, which may be larger than the JPEG."""
    views: tuple[View, ...]
    """An example has two: the prediction and the ground truth."""
    metric: Metric = "AP"
    """AP of instances or AR of proposals, which are drawn in another way."""
    network: str = ""
    """Whose predictions they are; "" where one network alone is shown."""


def example_pictures(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str],
    count: int = 6,
    network: str = "",
) -> tuple[Picture, ...]:
    """Pairs at even distances through the split, so that nobody has chosen them.

    Of instances those with a score of at least `SHOWN_SCORE` are shown; of proposals, for each
    object that one of the best `MATCHED_PROPOSALS` covers with a mask IoU of at least
    `MATCHED_IOU`, that one.

    Args:
        data: ground truth and pictures.
        predictions: some or all of its pictures, at least one.
        class_names: of the predictions' labels; not looked at for proposals.
        count: pairs at most.
        network: what the reader calls it, where the report shows several.

    Raises:
        InputError: a picture is broken.
    """
    records = {record.image_id: record for record in data.images}
    steps = np.linspace(0, len(predictions) - 1, min(count, len(predictions)))
    chosen = [predictions[round(float(step))] for step in steps]
    pairs = [_pair(data, records[p.image_id], p, class_names) for p in chosen]
    return tuple(replace(pair, network=network) for pair in pairs)


def given_picture(
    title: str,
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    masks: npt.NDArray[np.uint8],
    labels: Sequence[int],
    class_names: Sequence[str],
) -> Picture:
    """One picture as training gets it.

    Args:
        title: what to call it.
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy in pixels.
        masks: (N, H, W) uint8, 1 inside.
        labels: N labels.
        class_names: by label.
    """
    overlays = [
        Overlay(class_names[label], colour_of(label), box_of(box), outline_of_mask(mask))
        for box, mask, label in zip(boxes, masks, labels, strict=True)
    ]
    return _picture(title, image, View(_objects(len(overlays)), tuple(overlays)))


def labelled_picture(data: CocoData, record: ImageRecord) -> Picture:
    """A picture with its annotated objects; crowds apart."""
    overlays = _truth(data, _annotations(data, record.image_id))
    title = f"{record.path.name} ({record.image_id})"
    return _picture(title, read_record(record), View(_objects(len(overlays)), overlays))


def _picture(title: str, image: npt.NDArray[np.uint8], *views: View) -> Picture:
    return Picture(title, jpeg_of(image), (image.shape[0], image.shape[1]), views)


def _objects(count: int) -> str:
    """How many there are."""
    return f"{count} object{'' if count == 1 else 's'}"


def _pair(
    data: CocoData, record: ImageRecord, prediction: Prediction, class_names: Sequence[str]
) -> Picture:
    """What was found beside what is there."""
    annotations = _annotations(data, record.image_id)
    if prediction.frames is None:
        found = _found(prediction, class_names, data.class_names)
        truth = _truth(data, annotations)
        words = f"predicted: {len(found) or f'none scored {SHOWN_SCORE} or more'}"
    else:
        found = _covers(data, prediction, annotations)
        truth = _truth(data, annotations, range(len(annotations)))
        words = f"covered: {len(found) or 'none'}"
    sides = View(words, found), View(f"ground truth: {len(truth)}", truth)
    pair = _picture(record.path.name, read_record(record), *sides)
    return replace(pair, metric="AP" if prediction.frames is None else "AR")


def _found(
    prediction: Prediction, class_names: Sequence[str], coloured_as: Sequence[str]
) -> tuple[Overlay, ...]:
    """What scores `SHOWN_SCORE` or more, each class in the colour of its place in `coloured_as`."""
    overlays = []
    for index in np.flatnonzero(prediction.scores >= SHOWN_SCORE):
        name = class_names[int(prediction.labels[index])]
        said = f"{name} {prediction.scores[index]:.2f}"
        overlays.append(_overlay(prediction, index, said, coloured_as.index(name)))
    return tuple(overlays)


def _covers(
    data: CocoData, prediction: Prediction, annotations: Sequence[dict[str, Any]]
) -> tuple[Overlay, ...]:
    """Each object's best proposal, where it covers it, in the colour of the object's place."""
    assert prediction.rles is not None, "proposals have masks"
    truth = [data.truth.annToRLE(annotation) for annotation in annotations]
    best, iou = _best_covers(prediction.rles[:MATCHED_PROPOSALS], truth)
    return tuple(
        _overlay(prediction, best[place], f"IoU {iou[place]:.2f}", int(place))
        for place in np.flatnonzero(iou >= MATCHED_IOU)
    )


def _overlay(prediction: Prediction, index: np.intp, name: str, key: int) -> Overlay:
    outline = (
        "" if prediction.rles is None else outline_of_mask(mask_of_rle(prediction.rles[index]))
    )
    return Overlay(name, colour_of(key), box_of(prediction.boxes[index]), outline)


def _best_covers(
    proposals: Sequence[Any], truth: Sequence[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Per object the place of the proposal with the greatest mask IoU, and that IoU."""
    from pycocotools import mask as coco_mask

    if not proposals or not truth:
        return np.zeros(len(truth), dtype=np.intp), np.zeros(len(truth))
    iou = np.asarray(coco_mask.iou(list(proposals), list(truth), [0] * len(truth)))  # (D, G)
    return iou.argmax(axis=0), iou.max(axis=0)


def _annotations(data: CocoData, image_id: int) -> list[dict[str, Any]]:
    """Annotated instances of a picture; crowd regions are no instances."""
    found = data.truth.loadAnns(data.truth.getAnnIds(imgIds=[image_id]))
    return [annotation for annotation in found if not annotation["iscrowd"]]


def _truth(
    data: CocoData, annotations: Sequence[dict[str, Any]], keys: Sequence[int] | None = None
) -> tuple[Overlay, ...]:
    """The objects, in the colours of these keys or of their classes."""
    labels = [data.label_of(int(annotation["category_id"])) for annotation in annotations]
    overlays = []
    for annotation, label, key in zip(annotations, labels, keys or labels, strict=True):
        x, y, width, height = annotation["bbox"]
        box = box_of(np.array((x, y, x + width, y + height)))
        outline = outline_of_mask(data.truth.annToMask(annotation))
        overlays.append(Overlay(data.class_names[label], colour_of(key), box, outline))
    return tuple(overlays)
