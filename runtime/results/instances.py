"""The result of one picture: validated numpy arrays in the original picture's pixels.

Masks are kept as m x m probabilities in each instance's frame (its box, or the window of a
proposal) and pasted only when asked for: `rles()` and `to_coco()` never hold a full-size mask,
`masks` holds all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ContractError
from ..packages import packages_named
from .choosing import labels_of, least_scores
from .coco_rows import CocoResult, coco_rows
from .drawing import draw_overlay, write_picture
from .mask_nms import kept_by_mask_nms
from .mask_upsampling import upsampled
from .masks import paste_masks
from .pasting import FramedMasks, Pasted, Paster, crops, paste_on_cpu
from .polygons import polygons_from_crop
from .rle import Rle, compress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T", bound=np.generic)
Image = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

CORNER_STEPS = np.array([1, 3, 7, 13])
"""Windows at steps of a few pixels get different numbers, hence colours."""


@dataclass(frozen=True, eq=False)
class Instances:
    """N detected instances of one picture, best first as the network orders them.

    `found[0]`, `found[:3]`, `found[found.scores > 0.5]` and a loop over them give `Instances` too.
    """

    image_hw: tuple[int, int]
    """Height and width of the original picture, in pixels."""
    boxes: npt.NDArray[np.float32]
    """(N, 4) float32 xyxy in pixels of the original picture."""
    scores: npt.NDArray[np.float32]
    """(N,) float32 in [0, 1]."""
    labels: npt.NDArray[np.int32]
    """(N,) int32, contiguous 0..C-1."""
    mask_probs: npt.NDArray[np.float32] | None
    """(N, m, m) float32 probabilities in [0, 1], each in its frame; None of a network that gives
    boxes alone, as Faster R-CNN does."""
    class_names: tuple[str, ...]
    """C names, of labels 0..C-1."""
    mask_threshold: float = 0.5
    """Probabilities at or above it are foreground; Mask R-CNN 0.5, FastMask 0.2."""
    mask_upsampling: int = 1
    """Masks are made this many times finer, as logits, before they are pasted; FastMask 4."""
    frames: npt.NDArray[np.float32] | None = None
    """(N, 4) float32 xyxy in picture pixels, where `mask_probs` live; may reach outside the
    picture. None: in the boxes. FastMask: in the windows, while boxes are the masks' own."""
    category_ids: tuple[int, ...] = ()
    """C ids of the labels in the data set trained on; empty numbers them from 1."""

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges; ContractError names what differs."""
        count = len(self.boxes)
        self._check("boxes", (count, 4), np.float32)
        self._check("scores", (count,), np.float32)
        self._check("labels", (count,), np.int32)
        if self.mask_probs is not None:
            self._check("mask_probs", (count, *self.mask_probs.shape[1:][:2]), np.float32)
        if self.frames is not None:
            self._check("frames", (count, 4), np.float32)
        probs = self.mask_probs
        if probs is not None and (probs.ndim != 3 or 0 in probs.shape[1:]):
            raise ContractError(
                f"Instances: mask_probs have shape {probs.shape}; expected (N, m, m)."
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
        if self.mask_upsampling < 1:
            raise ContractError(
                f"Instances: mask_upsampling is {self.mask_upsampling}; expected at least 1."
            )
        names = ("boxes", "scores") if self.frames is None else ("boxes", "scores", "frames")
        for name in names:
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

    def __getitem__(self, index: int | slice | Sequence[int] | Index | Bool) -> Instances:
        """Those that numpy's indexing of one axis gives; IndexError where there is no such one."""
        return self._take(np.atleast_1d(np.arange(len(self))[index]))

    def __iter__(self) -> Iterator[Instances]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> list[str]:
        """N class names, of each instance its own."""
        return [self.class_names[label] for label in self.labels]

    @property
    def _maps(self) -> Float:
        if self.mask_probs is None:
            raise ContractError(
                "Instances: there are no masks, for the network gives boxes alone; expected one "
                "with a mask branch. Use boxes, scores and labels, or a Mask R-CNN."
            )
        return self.mask_probs

    @property
    def _frames(self) -> Float:
        return self.boxes if self.frames is None else self.frames

    @cached_property
    def masks(self) -> Bool:
        """(N, H, W) bool, pasted at the first use and kept: N * H * W bytes.

        ContractError where there are none, as of all that asks for masks.
        """
        maps = upsampled(self._maps, self.mask_upsampling)
        return paste_masks(maps, self._frames, self.image_hw, self.mask_threshold)

    def mask_crop(self, index: int) -> tuple[Bool, tuple[int, int]]:
        """Mask `index` as (h, w) bool around its foreground, and its top left pixel (row, column).

        See `masks.paste_one`.
        """
        return next(crops(self._framed(slice(index, index + 1))))

    def _framed(self, part: slice) -> FramedMasks:
        frames, hw = self._frames[part], self.image_hw
        probs, upsampling = self._maps[part], self.mask_upsampling
        return FramedMasks(probs, frames, hw, self.mask_threshold, upsampling)

    def rles(self) -> list[Rle]:
        """The masks in COCO's run-length encoding, in order; SessionError without pycocotools."""
        return compress(self._pasted.counts, self.image_hw)

    @cached_property
    def _pasted(self) -> Pasted:
        """Small, so kept: pasting is the cost."""
        return paste_on_cpu(self._framed(slice(None)))

    def polygons(self) -> list[list[Float]]:
        """Of each instance the outlines of its mask's parts; see `polygons_from_crop`."""
        parts = crops(self._framed(slice(None)))
        return [polygons_from_crop(crop, origin) for crop, origin in parts]

    def paste_by(self, paste: Paster) -> None:
        """Paste the masks now, and elsewhere than on the CPU at their first use; see `pasting`."""
        vars(self)["_pasted"] = paste(self._framed(slice(None)))

    def tightened(self) -> Instances:
        """Each box shrunk to its mask's pixels; instances whose mask has none are left out.

        Boxes are what COCO's toBbox gives: from the first foreground pixel's edge to the last
        one's. Masks stay where they are.
        """
        own = self._pasted.boxes
        return self._take(np.flatnonzero(own[:, 2] > own[:, 0]), boxes=own, frames=self._frames)

    def above(self, score: float) -> Instances:
        """The instances with at least this score, in the same order."""
        return self._take(np.flatnonzero(self.scores >= score))

    def filter(
        self,
        score: float = 0.0,
        classes: Sequence[str] | None = None,
        by_class: Mapping[str, float] | None = None,
    ) -> Instances:
        """The instances of some classes with at least a score, in the same order.

        Args:
            score: in [0, 1], of all classes that `by_class` does not name.
            classes: names; None is all.
            by_class: another least score for each class that it names.

        Raises:
            InputError: a score out of range, or a class that the network does not know.
        """
        kept = self.scores >= least_scores(score, by_class or {}, self.class_names)[self.labels]
        if classes is not None:
            kept &= np.isin(self.labels, labels_of(classes, self.class_names))
        return self[kept]

    def best(self, count: int) -> Instances:
        """The `count` instances of highest score, or all where there are fewer, in their order."""
        return self._take(np.sort(np.argsort(-self.scores, kind="stable")[:count]))

    def suppressed(self, mask_iou: float) -> Instances:
        """The instances that greedy mask suppression keeps, in the same order.

        In order of falling score, each one kept suppresses those of its label after it whose mask
        IoU with it is greater than `mask_iou`.

        Args:
            mask_iou: in (0, 1]; 1 keeps all.

        Raises:
            InputError: `mask_iou` is out of range.
            SessionError: pycocotools is not installed.
        """
        return self._take(kept_by_mask_nms(self.rles(), self.scores, self.labels, mask_iou))

    def _take(
        self, keep: Index, boxes: Float | None = None, frames: Float | None = None
    ) -> Instances:
        """The instances of these places, with other boxes and frames where given."""
        all_of_them = np.array_equal(keep, np.arange(len(self)))

        def picked(array: npt.NDArray[T]) -> npt.NDArray[T]:
            return array if all_of_them else array[keep]

        frames = self.frames if frames is None else frames
        taken = dataclasses.replace(
            self,
            boxes=picked(self.boxes if boxes is None else boxes),
            scores=picked(self.scores),
            labels=picked(self.labels),
            mask_probs=None if self.mask_probs is None else picked(self.mask_probs),
            frames=None if frames is None else picked(frames),
        )
        if "_pasted" in vars(self):  # the masks are the same: hand on what is already pasted
            counts, own = self._pasted.counts, self._pasted.boxes
            vars(taken)["_pasted"] = Pasted([counts[index] for index in keep], own[keep])
        return taken

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[CocoResult]:
        """Rows for a COCO results file, with masks where there are any.

        Args:
            image_id: the picture's id in the annotation file.
            category_ids: category id of each label, C long; None takes the network's own, or
                numbers them from 1 where it has none.

        Raises:
            ContractError: `category_ids` is not C long.
            SessionError: pycocotools is not installed.
        """
        ids = category_ids or self.category_ids or range(1, len(self.class_names) + 1)
        if len(ids) != len(self.class_names):
            raise ContractError(
                f"to_coco: {len(ids)} category ids; the artefact has {len(self.class_names)} "
                "classes. Pass one id per class, in the order of class_names."
            )
        of = [ids[label] for label in self.labels]
        rles = None if self.mask_probs is None else self.rles()
        return coco_rows(image_id, of, self.boxes, self.scores, rles)

    def draw(self, image: Image, score_threshold: float = 0.5, most: int | None = None) -> Image:
        """A copy of the picture with masks, boxes and names of instances at or above the score.

        A class has one colour in all pictures. Proposals have one by their window, as they have no
        class, and no names: many lie over each other.

        Args:
            image: (H, W, 3) uint8 RGB, the picture that was predicted.
            score_threshold: in [0, 1].
            most: so many of them, the best; None is all.

        Raises:
            ContractError: `image` is another size than `image_hw`.
        """
        if image.shape != (*self.image_hw, 3) or image.dtype != np.uint8:
            raise ContractError(
                f"draw: picture {image.shape} {image.dtype}; the instances belong to one of "
                f"{(*self.image_hw, 3)} uint8. Pass the picture that was predicted."
            )
        shown = self.above(score_threshold)
        if most is not None:
            shown = shown.best(most)
        names = shown.names
        colours = [int(label) for label in shown.labels]
        if shown.frames is not None:
            names = [""] * len(shown)
            colours = [int(corners @ CORNER_STEPS) for corners in shown.frames.round()]
        crop = None if shown.mask_probs is None else shown.mask_crop
        return draw_overlay(image, shown.boxes, shown.scores, names, colours, crop)

    def save(
        self, path: str | Path, image: Image, score_threshold: float = 0.5, most: int | None = None
    ) -> None:
        """Write what `draw` gives, by the suffix as JPEG, PNG or another kind of picture.

        Raises:
            ContractError: as `draw`.
            InputError: it cannot be encoded or written.
        """
        write_picture(Path(path), self.draw(image, score_threshold, most))

    def plot(self, image: Image, score_threshold: float = 0.5, axes: Axes | None = None) -> Axes:
        """Show what `draw` gives in axes of matplotlib, which a notebook displays; errors as there.

        InputError where matplotlib is not installed.
        """
        drawn = self.draw(image, score_threshold)
        with packages_named("Instances.plot", "report"):
            from matplotlib import pyplot as plt
        shown = plt.figure().add_subplot() if axes is None else axes
        shown.imshow(drawn)
        shown.axis("off")
        return shown
