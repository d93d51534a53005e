"""A model as the service has it: its predictor, its queue, and the two kinds of work it does.

Pictures go through `Predictor.predict`, so an answer is what `predict` gives. Tensors of the Open
Inference Protocol go to the graph as they are: canvases and valid sizes, up to a batch of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ...runtime.contract import Contract, Outputs
from ...runtime.pictures.preprocess import EMPTY_SLOT_HW, Image
from ...runtime.predictor import Predictor
from ...runtime.results.instances import Instances
from ..settings import ServeSettings
from .batcher import Batcher, Kind, OnBatch

Canvases = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""(n, H, W, 3) uint8 pictures on canvases and (n, 2) int32 valid sizes, 1 to B of them."""


class ServedModel:
    """A predictor under a name; it belongs to who opened it."""

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        settings: ServeSettings,
        *,
        at_once: int = 1,
        on_batch: OnBatch | None = None,
    ) -> None:
        """Make the queue.

        Args:
            name: that requests call it by.
            predictor: opened; batches run in threads of the queue's.
            settings: of the queue.
            at_once: batches that the predictor runs at the same time: an engine's contexts.
            on_batch: as `Batcher` takes it.
        """
        self.name, self.predictor = name, predictor
        self.batcher = Batcher(
            name,
            queue=settings.queue,
            wait_s=settings.wait_ms / 1000,
            queue_s=settings.queue_s,
            at_once=at_once,
            on_batch=on_batch,
        )
        self.pictures = Kind("pictures", predictor.at_once, self._predict)
        self.tensors = {hw: self._tensors_on(hw) for hw in predictor.canvases}

    @property
    def contract(self) -> Contract:
        """Of the artefact; of a bundle its first graph's."""
        return self.predictor.contract

    def warm_up(self) -> None:
        """Run a black picture, so that the first request finds everything opened."""
        self.predictor.predict([np.zeros((*self.predictor.canvases[0], 3), dtype=np.uint8)])

    def predict(self, image: Image) -> asyncio.Future[Instances]:
        """Queue one picture; errors as `Batcher.submit`, from the future as `Predictor.predict`."""
        return self.batcher.submit(self.pictures, image)

    def infer(self, canvases: Canvases) -> asyncio.Future[Outputs]:
        """Queue canvases; the outputs have as many rows. Errors as `predict`."""
        images, _ = canvases
        hw = (images.shape[1], images.shape[2])
        return self.batcher.submit(self.tensors[hw], canvases, len(images))

    def _predict(self, images: Sequence[Image]) -> list[Instances]:
        return self.predictor.predict(images)

    def _tensors_on(self, canvas_hw: tuple[int, int]) -> Kind:
        batch = self.contract.batch

        def run(payloads: Sequence[Canvases]) -> list[Outputs]:
            images = np.zeros((batch, *canvas_hw, 3), dtype=np.uint8)
            sizes = np.full((batch, 2), EMPTY_SLOT_HW, dtype=np.int32)
            ends = np.cumsum([0, *(len(canvases) for canvases, _ in payloads)])
            parts = [slice(*pair) for pair in pairwise(ends)]
            for part, (canvases, own) in zip(parts, payloads, strict=True):
                images[part], sizes[part] = canvases, own
            outputs = self.predictor.run(images, sizes)
            return [{name: array[part] for name, array in outputs.items()} for part in parts]

        return Kind(f"tensors {canvas_hw[0]}x{canvas_hw[1]}", batch, run)
