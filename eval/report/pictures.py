"""Example pictures for the report: what a model found beside the ground truth, drawn alike.

Both sides are drawn from run-length masks by the same code, one colour per class, so that a
difference on the page is a difference of the results. `Instances.draw` colours single instances
instead.

A thousand proposals hide the picture and the few best by score often lie on one object, so of
proposals each object's best cover is drawn, in that object's colour on both sides, as the FastMask
paper shows its own.
"""

from __future__ import annotations

import colorsys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.results.side_by_side import side_by_side
from ..coco.accuracy import Metric
from ..coco.data import CocoData
from ..coco.pictures import ImageRecord, read_record
from ..coco.predictions import Prediction

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

SHOWN_SCORE = 0.5
MATCHED_PROPOSALS = 100
MATCHED_IOU = 0.5
LONG_SIDE_PX = 480  # as wide as shown, so captions stay readable and the page small
_TINT = 0.5
_GOLDEN_TURN = 0.618034  # successive hues this far apart on the circle stay distinct
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """One pair for the report, encoded as JPEG."""

    title: str
    prediction_jpeg: bytes
    truth_jpeg: bytes
    predicted: int
    """Instances drawn, those with a score of at least `SHOWN_SCORE`; of proposals, objects that
    one of the best `MATCHED_PROPOSALS` covers with a mask IoU of at least `MATCHED_IOU`."""
    annotated: int
    metric: Metric = "AP"
    """AP of instances or AR of proposals, which are drawn in another way."""
    network: str = ""
    """Whose predictions they are; "" where one network alone is shown."""

    @property
    def found(self) -> str:
        """What stands under the prediction."""
        if self.metric == "AR":
            return f"covered: {self.predicted or 'none'}"
        return f"predicted: {self.predicted or f'none scored {SHOWN_SCORE} or more'}"


def example_pictures(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str],
    count: int = 6,
    network: str = "",
) -> tuple[Picture, ...]:
    """Pairs at even distances through the split, so that nobody has chosen them.

    Args:
        data: ground truth and pictures.
        predictions: some or all of its pictures, at least one.
        class_names: of the predictions' labels; not looked at for proposals.
        count: pairs at most.
        network: what the reader calls it, where the report shows several.
    """
    records = {record.image_id: record for record in data.images}
    steps = np.linspace(0, len(predictions) - 1, min(count, len(predictions)))
    chosen = [predictions[round(float(step))] for step in steps]
    pairs = [_pair(data, records[p.image_id], p, class_names) for p in chosen]
    return tuple(replace(pair, network=network) for pair in pairs)


def drawn_jpeg(
    image: Image,
    masks: npt.NDArray[np.uint8],
    boxes: npt.NDArray[Any],
    captions: Sequence[str],
    labels: Sequence[int],
) -> bytes:
    """A picture with its instances as JPEG, a colour each class.

    `masks` are (N, H, W), 1 inside; `boxes` (N, 4) xyxy in pixels.
    """
    from pycocotools import mask as coco_mask

    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    return _jpeg(_draw(image, rles, boxes, captions, [_colour(label) for label in labels]))


def truth_jpeg(data: CocoData, record: ImageRecord) -> tuple[bytes, int]:
    """A picture with its annotated objects as JPEG, and how many they are; crowds apart."""
    annotations = _annotations(data, record.image_id)
    return _jpeg(_draw_truth(data, read_record(record), annotations)), len(annotations)


def compared_jpeg(
    record: ImageRecord,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    class_names: Sequence[str],
) -> bytes:
    """A picture with what each artefact found from `SHOWN_SCORE` on, beside each other, as JPEG.

    Args:
        record: the picture.
        predictions: of it, one for each artefact.
        names: of the artefacts, written above.
        class_names: of all their labels.
    """
    image = read_record(record)
    overlays = [_found(image, prediction, class_names, class_names) for prediction in predictions]
    return _jpeg(side_by_side(overlays, names))


def _pair(
    data: CocoData, record: ImageRecord, prediction: Prediction, class_names: Sequence[str]
) -> Picture:
    if prediction.frames is not None:
        return _proposals_pair(data, record, prediction)
    image = read_record(record)
    annotations = _annotations(data, record.image_id)
    return Picture(
        title=record.path.name,
        prediction_jpeg=_jpeg(_found(image, prediction, class_names, data.class_names)),
        truth_jpeg=_jpeg(_draw_truth(data, image, annotations)),
        predicted=int((prediction.scores >= SHOWN_SCORE).sum()),
        annotated=len(annotations),
    )


def _found(
    image: Image,
    prediction: Prediction,
    class_names: Sequence[str],
    coloured_as: Sequence[str],
) -> Image:
    """What scores `SHOWN_SCORE` or more, each class in the colour of its place in `coloured_as`."""
    shown = np.flatnonzero(prediction.scores >= SHOWN_SCORE)
    labels = [class_names[int(prediction.labels[index])] for index in shown]
    captions = [
        f"{name} {prediction.scores[index]:.2f}" for name, index in zip(labels, shown, strict=True)
    ]
    return _draw(
        image,
        [] if prediction.rles is None else [prediction.rles[index] for index in shown],
        prediction.boxes[shown],
        captions,
        [_colour(coloured_as.index(name)) for name in labels],
    )


def _proposals_pair(data: CocoData, record: ImageRecord, prediction: Prediction) -> Picture:
    """Each object's best proposal, where it covers it, beside the objects."""
    image, annotations = read_record(record), _annotations(data, record.image_id)
    assert prediction.rles is not None, "proposals have masks"
    truth = [data.truth.annToRLE(annotation) for annotation in annotations]
    best, iou = _best_covers(prediction.rles[:MATCHED_PROPOSALS], truth)
    shown = np.flatnonzero(iou >= MATCHED_IOU)
    colours = [_colour(index) for index in range(len(annotations))]
    found = _draw(
        image,
        [prediction.rles[best[index]] for index in shown],
        prediction.boxes[best[shown]],
        [f"IoU {iou[index]:.2f}" for index in shown],
        [colours[index] for index in shown],
    )
    return Picture(
        title=record.path.name,
        prediction_jpeg=_jpeg(found),
        truth_jpeg=_jpeg(_draw_truth(data, image, annotations, colours)),
        predicted=len(shown),
        annotated=len(annotations),
        metric="AR",
    )


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


def _draw_truth(
    data: CocoData,
    image: Image,
    annotations: list[dict[str, Any]],
    colours: Sequence[Colour] | None = None,
) -> Image:
    """The objects, in these colours or in those of their classes."""
    labels = [data.label_of(int(annotation["category_id"])) for annotation in annotations]
    xywh = np.array([annotation["bbox"] for annotation in annotations], float).reshape(-1, 4)
    return _draw(
        image,
        [data.truth.annToRLE(annotation) for annotation in annotations],
        np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1),
        [data.class_names[label] for label in labels],
        colours or [_colour(label) for label in labels],
    )


def _draw(
    image: Image,
    rles: Sequence[Any],
    boxes: npt.NDArray[Any],
    captions: Sequence[str],
    colours: Sequence[Colour],
) -> Image:
    """A copy, scaled to `LONG_SIDE_PX` before text is written, with the first instance on top.

    `rles` are as many as boxes, or none at all.
    """
    tinted = image.astype(np.float32)
    for rle, colour in zip(reversed(rles), reversed(colours), strict=bool(rles)):
        inside = _bitmap(rle)
        tinted[inside] = (1 - _TINT) * image[inside] + _TINT * np.array(colour, np.float32)
    canvas, scale = _scaled(tinted.round().astype(np.uint8))
    for box, caption, colour in reversed(list(zip(boxes, captions, colours, strict=True))):
        _draw_box(canvas, box * scale, caption, colour)
    return canvas


def _bitmap(rle: Any) -> npt.NDArray[np.bool_]:
    from pycocotools import mask as coco_mask

    with warnings.catch_warnings():  # pycocotools 2.0.11 asks NumPy 2 in NumPy 1's way
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
        return np.asarray(coco_mask.decode(rle), dtype=np.bool_)


def _scaled(image: Image) -> tuple[Image, float]:
    import cv2

    scale = LONG_SIDE_PX / max(image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=how), np.uint8), scale


def _draw_box(canvas: Image, box: npt.NDArray[Any], caption: str, colour: Colour) -> None:
    import cv2

    x0, y0, x1, y1 = (round(float(value)) for value in box)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 2)
    (width, height), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    left = max(0, min(x0, canvas.shape[1] - width - 4))
    bottom = max(y0, height + 6)
    cv2.rectangle(canvas, (left, bottom - height - 6), (left + width + 4, bottom), colour, -1)
    cv2.putText(
        canvas,
        caption,
        (left + 2, bottom - 4),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )


def _colour(label: int) -> Colour:
    """Light RGB, so that black text on it can be read."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN_TURN % 1.0, 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _jpeg(image: Image) -> bytes:
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
