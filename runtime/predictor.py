"""Pictures in, instances out: the three phases of prediction around any session.

`preprocess`, `run` and `postprocess` are public so that a bench times exactly what `predict` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from .contract import Contract
from .errors import ContractError
from .instances import Instances
from .mask_nms import check_mask_iou
from .postprocess import instances_from_outputs
from .preprocess import Image, place_on_canvas
from .session import Outputs, Session

Sizes = npt.NDArray[np.int32]


class Predictor:
    """A session with its pre- and post-processing; a context manager that closes the session.

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
            SessionError: the backend failed.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            raise ContractError(
                f"predict: got one array {images.shape}; expected a list of pictures. "
                "Write predict([image])."
            )
        batch = self.contract.batch
        results: list[Instances] = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            canvases, image_sizes = self.preprocess(part)
            results += self.postprocess(self.run(canvases, image_sizes), part, image_sizes)
        return results

    def preprocess(self, images: Sequence[Image]) -> tuple[Image, Sizes]:
        """One batch of pictures to canvases and valid sizes; see `place_on_canvas`."""
        return place_on_canvas(images, self.contract)

    def run(self, canvases: Image, image_sizes: Sizes) -> Outputs:
        """Canvases to raw outputs; see `Session.run`."""
        return self.session.run(canvases, image_sizes)

    def postprocess(
        self, outputs: Outputs, images: Sequence[Image], image_sizes: Sizes
    ) -> list[Instances]:
        """Raw outputs to one `Instances` per picture; `images` give only their sizes."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
