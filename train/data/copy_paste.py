"""Objects of one picture pasted over another.

Source: Ghiasi et al. 2021, Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation. Edges are not blended, which made no difference there (section 3).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .cropping import Window, cropped
from .dataset import Sample, run_lengths
from .remains import with_remains


def pasted(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """`sample` with some objects of `other`, at least one where there are any, over its own.

    They keep their places to each other: the smaller picture lies somewhere within the larger,
    along each axis, and what is beyond `sample` is cut off. Crowds are not pasted.
    """
    objects = np.flatnonzero(~other.iscrowd)
    if not objects.size:
        return sample
    count = rng.integers(1, objects.size, endpoint=True)
    chosen = sorted(rng.choice(objects, count, replace=False).tolist())
    height, width = sample.image.shape[:2]
    room = np.subtract((height, width), other.image.shape[:2])
    y, x = rng.integers(np.minimum(room, 0), np.maximum(room, 0), endpoint=True).tolist()
    return overlaid(sample, cropped(other.only(chosen), Window((-y, -x), (height, width))))


def overlaid(sample: Sample, layer: Sample) -> Sample:
    """The instances of `layer`, of the same size, over `sample`; last in the order.

    Masks below lose what is hidden and become run lengths; `with_remains` says which of them stay.
    """
    hidden = np.asarray(layer.masks().any(axis=0))
    below = _below(sample, hidden)
    return dataclasses.replace(
        below,
        image=np.where(hidden[..., None], layer.image, sample.image),
        boxes=np.concatenate([below.boxes, layer.boxes]),
        labels=np.concatenate([below.labels, layer.labels]),
        iscrowd=np.concatenate([below.iscrowd, layer.iscrowd]),
        segmentations=(*below.segmentations, *layer.segmentations),
    )


def _below(sample: Sample, hidden: npt.NDArray[np.bool_]) -> Sample:
    masks = sample.masks()
    whole = masks.sum(axis=(1, 2), dtype=np.float64)
    masks[:, hidden] = 0
    left = masks.sum(axis=(1, 2), dtype=np.float64)
    segmentations = [
        known if had == has else run_lengths(mask)
        for known, mask, had, has in zip(sample.segmentations, masks, whole, left, strict=True)
    ]
    return with_remains(sample, segmentations, whole)
