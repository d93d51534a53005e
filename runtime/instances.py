"""The result of one picture: validated numpy arrays in the original picture's pixels.

Masks are kept as the network gives them, m x m probabilities in each box's frame, and pasted only
when asked for: `rles()` and `to_coco()` never hold a full-size mask, `masks` holds all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from .errors import ContractError
from .masks import paste_masks, paste_one
from .rle import Rle, compress, counts_from_crop

Image = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


class CocoResult(TypedDict):
    """One row of a COCO results file; `bbox` is xywh in pixels of the original picture."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
    segmentation: Rle


@dataclass(frozen=True, eq=False)
class Instances:
    """N detected instances of one picture, best first as the network orders them."""

    image_hw: tuple[int, int]
    """Height and width of the original picture, in pixels."""
    boxes: npt.NDArray[np.float32]
    """(N, 4) float32 xyxy in pixels of the original picture."""
    scores: npt.NDArray[np.float32]
    """(N,) float32 in [0, 1]."""
    labels: npt.NDArray[np.int32]
    """(N,) int32, contiguous 0..C-1."""
    mask_probs: npt.NDArray[np.float32]
    """(N, m, m) float32 probabilities in [0, 1], each in the frame of its box."""
    class_names: tuple[str, ...]
    """C names, of labels 0..C-1."""
    mask_threshold: float = 0.5
    """Probabilities at or above it are foreground; Mask R-CNN 0.5, FastMask 0.2."""

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges; ContractError names what differs."""
        count = len(self.boxes)
        self._check("boxes", (count, 4), np.float32)
        self._check("scores", (count,), np.float32)
        self._check("labels", (count,), np.int32)
        self._check("mask_probs", (count, *self.mask_probs.shape[1:][:2]), np.float32)
        if self.mask_probs.ndim != 3 or 0 in self.mask_probs.shape[1:]:
            raise ContractError(
                f"Instances: mask_probs have shape {self.mask_probs.shape}; expected (N, m, m)."
            )
        self._check_values()

    def _check(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        array = getattr(self, name)
        if array.shape != shape or array.dtype != dtype:
            raise ContractError(
                f"Instances: {name} are {array.shape} {array.dtype}; expected {shape} "
                f"{np.dtype(dtype).name}, as many as boxes. Check what made them."
            )

    def _check_values(self) -> None:
        if min(self.image_hw) < 1:
            raise ContractError(f"Instances: image_hw is {self.image_hw}; expected at least 1 x 1.")
        if not 0 < self.mask_threshold <= 1:
            raise ContractError(
                f"Instances: mask_threshold is {self.mask_threshold}; expected in (0, 1]."
            )
        for name in ("boxes", "scores"):
            if not np.isfinite(getattr(self, name)).all():
                raise ContractError(
                    f"Instances: {name} hold NaN or infinity; expected finite numbers. "
                    "If an FP16 artefact gave them, export it in FP32 and compare."
                )
        classes = len(self.class_names)
        if len(self) and not (self.labels.min() >= 0 and self.labels.max() < classes):
            raise ContractError(
                f"Instances: labels span {self.labels.min()}..{self.labels.max()}; "
                f"the artefact has {classes} classes, 0..{classes - 1}."
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def masks(self) -> Bool:
        """(N, H, W) bool, pasted at the first use and kept: N * H * W bytes."""
        return paste_masks(self.mask_probs, self.boxes, self.image_hw, self.mask_threshold)

    def mask_crop(self, index: int) -> tuple[Bool, tuple[int, int]]:
        """Mask `index` as (h, w) bool on its own box, and its top left pixel (row, column)."""
        return paste_one(
            self.mask_probs[index], self.boxes[index], self.image_hw, self.mask_threshold
        )

    def rles(self) -> list[Rle]:
        """The masks in COCO's run-length encoding, in order; SessionError without pycocotools."""
        crops = (self.mask_crop(index) for index in range(len(self)))
        counts = [counts_from_crop(crop, origin, self.image_hw) for crop, origin in crops]
        return compress(counts, self.image_hw)

    def above(self, score: float) -> Instances:
        """The instances with at least this score, in the same order."""
        keep = self.scores >= score
        return dataclasses.replace(
            self,
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            mask_probs=self.mask_probs[keep],
        )

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[CocoResult]:
        """Rows for a COCO results file.

        Args:
            image_id: the picture's id in the annotation file.
            category_ids: category id of each label, C long; None numbers them from 1.

        Raises:
            ContractError: `category_ids` is not C long.
            SessionError: pycocotools is not installed.
        """
        ids = range(1, len(self.class_names) + 1) if category_ids is None else category_ids
        if len(ids) != len(self.class_names):
            raise ContractError(
                f"to_coco: {len(ids)} category ids; the artefact has {len(self.class_names)} "
                "classes. Pass one id per class, in the order of class_names."
            )
        x0, y0, x1, y1 = self.boxes.astype(np.float64).T
        xywh = np.stack((x0, y0, x1 - x0, y1 - y0), axis=1)
        return [
            CocoResult(
                image_id=image_id,
                category_id=int(ids[label]),
                bbox=box.tolist(),
                score=float(score),
                segmentation=rle,
            )
            for label, box, score, rle in zip(
                self.labels, xywh, self.scores, self.rles(), strict=True
            )
        ]

    def draw(self, image: Image, score_threshold: float = 0.5) -> Image:
        """A copy of the picture with masks, boxes and names of instances at or above the score.

        Args:
            image: (H, W, 3) uint8 RGB, the picture that was predicted.
            score_threshold: in [0, 1].

        Raises:
            ContractError: `image` is another size than `image_hw`.
        """
        from .drawing import draw_instances

        return draw_instances(self.above(score_threshold), image)
