"""Pictures in, instances out: the three phases of prediction around any session.

`preprocess`, `run` and `postprocess` are public so that a bench times exactly what `predict` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from .closing import Closing
from .contract import Contract, Outputs
from .errors import ContractError, InputError
from .pictures.preprocess import Image, place_on_canvas
from .results.finite import check_finite
from .results.instances import Instances
from .results.mask_nms import check_mask_iou
from .results.postprocess import instances_from_outputs
from .sessions.interface import Session

Sizes = npt.NDArray[np.int32]


class Predictor(Closing):
    """A session with its pre- and post-processing; closing it closes the session.

    With `nms_iou`, in (0, 1], every result is `Instances.suppressed` at that mask IoU. FastMask's
    proposals are many per object and come unsuppressed: recall is measured on all of them, people
    want one. InputError when it is out of range.
    """

    def __init__(self, session: Session, nms_iou: float | None = None) -> None:
        if nms_iou is not None:
            check_mask_iou(nms_iou)
        self.session = session
        self.nms_iou = nms_iou

    @property
    def contract(self) -> Contract:
        """What the artefact takes and gives."""
        return self.session.contract

    def predict(self, images: Sequence[Image]) -> list[Instances]:
        """Predict any number of pictures, `contract.batch` at a time.

        Args:
            images: (H, W, 3) uint8 RGB arrays of any sizes, as `read_image` returns.

        Returns:
            One `Instances` per picture, in order, in that picture's own pixels.

        Raises:
            ContractError: a picture is not (H, W, 3) uint8.
            SessionError: the backend failed, or gave NaN or infinity.
        """
        require_list(images, "predict")
        batch = self.contract.batch
        results: list[Instances] = []
        for start in range(0, len(images), batch):
            results += self._predict_batch(images[start : start + batch])
        return results

    def stream(self, images: Iterable[Image], depth: int = 2) -> Generator[Instances, None, None]:
        """Predict pictures as they come, the phases of neighbouring batches at the same time.

        While one batch is in the session, another is prepared or finished by its own thread. 2
        keeps a CPU busy; a GPU waits less with 3, one batch in each phase. At most `depth` batches
        are held. Pictures are taken from `images` in the consumer's thread, as results are asked
        for. Closing the generator, as leaving a loop over it does, ends its threads.

        Args:
            images: (H, W, 3) uint8 RGB arrays of any sizes; may never end.
            depth: batches under way at once, 1 or more.

        Yields:
            One `Instances` per picture, in order: what `predict` gives.

        Raises:
            InputError: `depth` is below 1.
            ContractError: a picture is not (H, W, 3) uint8; those before it are given first.
            SessionError: the backend failed, or gave NaN or infinity.
        """
        require_list(images, "stream")
        if depth < 1:
            raise InputError(f"stream: depth is {depth}; expected 1 or more. Use 2 or 3.")
        return self._stream(iter(images), depth)

    def _stream(self, images: Iterator[Image], depth: int) -> Generator[Instances, None, None]:
        under_way: deque[Future[list[Instances]]] = deque()
        pool = ThreadPoolExecutor(depth, thread_name_prefix="maskrt-stream")
        try:
            while batch := list(islice(images, self.contract.batch)):
                under_way.append(pool.submit(self._predict_batch, batch))
                if len(under_way) == depth:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_batch(self, images: Sequence[Image]) -> list[Instances]:
        canvases, image_sizes = self.preprocess(images)
        return self.postprocess(self.run(canvases, image_sizes), images, image_sizes)

    def preprocess(self, images: Sequence[Image]) -> tuple[Image, Sizes]:
        """One batch of pictures to canvases and valid sizes; see `place_on_canvas`."""
        return place_on_canvas(images, self.contract)

    def run(self, canvases: Image, image_sizes: Sizes) -> Outputs:
        """Canvases to raw outputs; see `Session.run`."""
        return self.session.run(canvases, image_sizes)

    def postprocess(
        self, outputs: Outputs, images: Sequence[Image], image_sizes: Sizes
    ) -> list[Instances]:
        """Raw outputs to one `Instances` per picture; `images` give only their sizes.

        Raises:
            SessionError: NaN or infinity in any slot, counted or not: `results/finite.py` says why.
        """
        half = {self.contract.precision, self.session.backend.precision} & {"fp16", "int8"}
        check_finite(outputs, self.contract.variant, half=bool(half))
        found = [
            instances_from_outputs(
                outputs,
                index,
                (image.shape[0], image.shape[1]),
                (int(image_sizes[index, 0]), int(image_sizes[index, 1])),
                self.contract,
            )
            for index, image in enumerate(images)
        ]
        if self.nms_iou is None:
            return found
        return [instances.suppressed(self.nms_iou) for instances in found]

    def close(self) -> None:
        """Release the session; the predictor cannot predict afterwards."""
        self.session.close()


def require_list(images: object, method: str) -> None:
    """ContractError where one picture came instead of a list; `method` is what got it."""
    if isinstance(images, np.ndarray) and images.ndim == 3:
        raise ContractError(
            f"{method}: got one array {images.shape}; expected a list of pictures. "
            f"Write {method}([image])."
        )
