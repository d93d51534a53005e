"""Instances as typed JSON or as an overlay."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import pycocotools.mask  # noqa: F401 (run lengths need it: told at the start, not at a picture)
from pydantic import BaseModel

from ...runtime.pictures.preprocess import Image
from ...runtime.results.instances import Instances

Masks = Literal["rle", "polygons", "none"]


class RunLengths(BaseModel):
    """A mask as COCO's compressed run lengths, down the columns, of the whole picture."""

    size: tuple[int, int]
    """Height and width in pixels."""
    counts: str


class Instance(BaseModel):
    """One instance; of two fields for its mask the one that was asked for is there."""

    label: int
    """From 0."""
    name: str
    """Of the class."""
    score: float
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the picture that was sent."""
    mask: RunLengths | None = None
    polygons: list[list[float]] | None = None
    """Outlines of its mask's parts, each x, y, x, y, ... in pixels."""


class Prediction(BaseModel):
    """What a model found in a picture, best first."""

    model: str
    height: int
    """Of the picture, in pixels, after its EXIF orientation was applied."""
    width: int
    instances: list[Instance]


class ModelCard(BaseModel):
    """A model that is served."""

    name: str
    variant: str
    """The recipe that it was trained by."""
    task: Literal["instances", "detection", "proposals"]
    class_names: list[str]
    canvases: list[tuple[int, int]]
    """Height and width in pixels that pictures are scaled into."""
    batch: int


class Problem(BaseModel):
    """Why there is no answer, in a sentence."""

    error: str


def prediction_json(model: str, found: Instances, masks: Masks) -> bytes:
    """A `Prediction`, written."""
    height, width = found.image_hw
    if found.mask_probs is None:
        masks = "none"
    rles = found.rles() if masks == "rle" else [None] * len(found)
    shapes = found.polygons() if masks == "polygons" else [None] * len(found)
    instances = [
        Instance.model_construct(
            label=int(label),
            name=found.class_names[label],
            score=float(score),
            box=tuple(box.tolist()),
            mask=rle and RunLengths.model_construct(size=(height, width), counts=rle["counts"]),
            polygons=shape and [part.ravel().tolist() for part in shape],
        )
        for label, score, box, rle, shape in zip(
            found.labels, found.scores, found.boxes, rles, shapes, strict=True
        )
    ]
    answer = Prediction.model_construct(
        model=model, height=height, width=width, instances=instances
    )
    return answer.model_dump_json().encode()


def overlay_png(found: Instances, image: Image) -> bytes:
    """The picture with all instances of `found` drawn, as a PNG file."""
    drawn = found.draw(image, score_threshold=0.0)
    _, data = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    encoded: npt.NDArray[np.uint8] = np.asarray(data, dtype=np.uint8)
    return encoded.tobytes()
