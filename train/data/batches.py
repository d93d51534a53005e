"""Samples to batches: epochs in a fixed order, from any step on.

(seed, epoch) decides the order and (seed, epoch, index) what happens to each picture, so a run that
is resumed in the middle of an epoch sees the batches it would have seen. Pictures of one
orientation share a batch, as in Detectron2 (data/common.py @02b5c4e): less padding, less time.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...runtime.errors import InputError
from .augment import Augmentation, augment
from .dataset import CocoInstances, Sample

_ORDER = 2**32 - 1  # keeps the shuffling apart from the stream of any picture


@dataclass(frozen=True)
class Batch:
    """Samples on one canvas, each picture at the top left; lists have one entry per picture."""

    images: torch.Tensor
    """(B, H, W, 3) uint8 RGB; 0 outside the pictures."""
    image_sizes: torch.Tensor
    """(B, 2) int32: valid (h, w)."""
    boxes: list[torch.Tensor]
    """(N, 4) float32 xyxy in canvas pixels, crowds left out."""
    labels: list[torch.Tensor]
    """(N,) int64, contiguous 0..C-1."""
    masks: list[torch.Tensor]
    """(N, h, w) uint8, 1 inside, in the picture's valid size."""
    crowd_boxes: list[torch.Tensor]
    """(M, 4) float32 xyxy in canvas pixels."""
    image_ids: list[int]

    def parts(self, count: int) -> list[Batch]:
        """Its pictures in `count` parts on the same canvas; fewer where there are fewer."""
        size = -(-len(self.images) // count)
        slices = (slice(at, at + size) for at in range(0, len(self.images), size))
        return [Batch(**{name: v[part] for name, v in vars(self).items()}) for part in slices]


def loader(
    dataset: CocoInstances,
    batch_size: int,
    seed: int,
    epoch: int,
    workers: int,
    *,
    augmentation: Augmentation,
    multiple_px: int = 32,
    first_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    epochs: int | None = 1,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Batches of one epoch, the same for the same arguments whatever the number of workers.

    Args:
        dataset: the split to go through.
        batch_size: pictures per batch; a last incomplete batch is left out, unless it is the only.
        seed: of the whole run.
        epoch: the first, counts from 0.
        workers: decoding processes; 0 decodes in this one.
        augmentation: applied to every picture.
        multiple_px: canvas sides are multiples of this.
        first_step: steps of the first epoch already done; they are skipped, not decoded.
        shard: (rank, number of ranks) of a distributed run; each rank gets batches of its own.
        epochs: how many; None is one after another for ever. Workers stay, and what they have
            prepared: no epoch begins with a wait.
        pinned: in memory from which a GPU copies by itself; needs one.

    Raises:
        InputError: a picture is missing or broken; raised when its batch is reached.
    """
    numbers = itertools.count(epoch) if epochs is None else range(epoch, epoch + epochs)
    batches = DataLoader(
        _Augmented(dataset, augmentation, seed),
        batch_sampler=_order(dataset, batch_size, seed, numbers, first_step, shard),
        num_workers=workers,
        collate_fn=functools.partial(_packed_or_error, multiple_px=multiple_px),
        worker_init_fn=_leave_signals,
        pin_memory=pinned,
    )
    with _opencv_threads(1) if workers else contextlib.nullcontext():
        packs = iter(batches)  # forks the workers
    for pack in packs:
        if isinstance(pack, InputError):
            raise pack
        yield _unpacked(pack)


def _leave_signals(_: int) -> None:
    """Ctrl-C reaches a worker too, whose parent is in the middle of a step and will end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def steps_per_epoch(dataset: CocoInstances, batch_size: int, ranks: int = 1) -> int:
    """Number of batches that `loader` gives each rank; the same in every epoch."""
    return max(len(dataset) // batch_size, min(len(dataset), 1)) // ranks


def collate(samples: Sequence[Sample], multiple_px: int) -> Batch:
    """Put samples on the smallest common canvas with room for each, sides of `multiple_px`."""
    return _unpacked(_packed(samples, multiple_px))


@dataclass(frozen=True)
class _Pack:
    """A `Batch` end to end: seven tensors, however many pictures.

    Every tensor sent by a worker process costs an open file, and a batch of lists would soon reach
    the usual limit of 1024.
    """

    images: torch.Tensor  # (B, H, W, 3)
    image_sizes: torch.Tensor  # (B, 2)
    counts: torch.Tensor  # (B, 2) instances and crowds
    boxes: torch.Tensor  # (sum N, 4)
    labels: torch.Tensor  # (sum N,)
    masks: torch.Tensor  # (sum N h w,)
    crowd_boxes: torch.Tensor  # (sum M, 4)
    image_ids: list[int]

    def pin_memory(self) -> _Pack:
        """Itself in pinned memory; the loader asks for it by this name."""
        tensors: dict[str, Any] = {k: v for k, v in vars(self).items() if k != "image_ids"}
        return replace(self, **{name: value.pin_memory() for name, value in tensors.items()})


def _packed(samples: Sequence[Sample], multiple_px: int) -> _Pack:
    sizes = np.array([s.image.shape[:2] for s in samples], np.int32)  # (B, 2)
    rooms = np.array([s.room_hw for s in samples], np.int32)
    canvas_hw = -(-np.maximum(sizes, rooms).max(axis=0) // multiple_px) * multiple_px
    images = np.zeros((len(samples), *canvas_hw, 3), np.uint8)
    for canvas, sample in zip(images, samples, strict=True):
        canvas[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
    crowds = [s.iscrowd for s in samples]
    counts = [[np.count_nonzero(~c), np.count_nonzero(c)] for c in crowds]
    boxes = [s.boxes[~s.iscrowd] for s in samples]
    labels = [s.labels[~s.iscrowd] for s in samples]
    crowd_boxes = [s.boxes[s.iscrowd] for s in samples]
    return _Pack(
        images=torch.from_numpy(images),
        image_sizes=torch.from_numpy(sizes),
        counts=torch.tensor(counts),
        boxes=torch.from_numpy(np.concatenate(boxes)),
        labels=torch.from_numpy(np.concatenate(labels)),
        masks=torch.from_numpy(np.concatenate([s.masks()[~s.iscrowd].ravel() for s in samples])),
        crowd_boxes=torch.from_numpy(np.concatenate(crowd_boxes)),
        image_ids=[s.image_id for s in samples],
    )


def _unpacked(pack: _Pack) -> Batch:
    """Views of the packed tensors, one per picture."""
    single, crowd = pack.counts.T.tolist()
    shapes = [(n, *hw) for n, hw in zip(single, pack.image_sizes.tolist(), strict=True)]
    flat = torch.split(pack.masks, [n * h * w for n, h, w in shapes])
    return Batch(
        images=pack.images,
        image_sizes=pack.image_sizes,
        boxes=list(torch.split(pack.boxes, single)),
        labels=list(torch.split(pack.labels, single)),
        masks=[mask.view(shape) for mask, shape in zip(flat, shapes, strict=True)],
        crowd_boxes=list(torch.split(pack.crowd_boxes, crowd)),
        image_ids=pack.image_ids,
    )


def _packed_or_error(
    samples: Sequence[Sample | InputError], multiple_px: int
) -> _Pack | InputError:
    whole = []
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
        whole.append(sample)
    return _packed(whole, multiple_px)


class _Augmented(Dataset[Sample | InputError]):
    """`dataset` seen through `augment`, each picture in an epoch.

    A broken picture is returned as its error: raised in a worker process it would reach the user
    with a traceback in the place of its sentence.
    """

    def __init__(self, dataset: CocoInstances, augmentation: Augmentation, seed: int) -> None:
        self._dataset, self._augmentation, self._seed = dataset, augmentation, seed

    def __getitem__(self, place: tuple[int, int]) -> Sample | InputError:
        epoch, index = place
        rng = np.random.default_rng([self._seed, epoch, index])
        try:
            return augment(self._dataset[index], self._augmentation, rng, self._dataset)
        except InputError as err:
            return err


def _order(
    dataset: CocoInstances,
    batch_size: int,
    seed: int,
    epochs: Iterable[int],
    first_step: int,
    shard: tuple[int, int],
) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of each batch's pictures, batch by batch, of one rank."""
    rank, ranks = shard
    for epoch in epochs:
        plan = _plan(dataset, batch_size, seed, epoch)
        for batch in plan[rank : len(plan) // ranks * ranks : ranks][first_step:]:
            yield [(epoch, index) for index in batch]
        first_step = 0


def _plan(dataset: CocoInstances, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffled indices in batches of one orientation; what is left over is mixed at the end."""
    waiting: dict[bool, list[int]] = {False: [], True: []}
    batches: list[list[int]] = []
    rng = np.random.default_rng([seed, epoch, _ORDER])
    for index in rng.permutation(len(dataset)).tolist():
        height, width = dataset.size_hw(index)
        bucket = waiting[height > width]
        bucket.append(index)
        if len(bucket) == batch_size:
            batches.append(bucket.copy())
            bucket.clear()
    rest = waiting[False] + waiting[True]
    if len(rest) >= batch_size or (rest and not batches):
        batches.append(rest[:batch_size])
    return batches


@contextlib.contextmanager
def _opencv_threads(count: int) -> Iterator[None]:
    """OpenCV's thread pool at `count` for a while.

    A forked process inherits the pool without its threads and waits for them for ever, so the pool
    must be gone when the workers are forked. They then stay at one thread each.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
