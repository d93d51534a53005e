"""Pictures in, instances out: the three phases of prediction around any session.

`preprocess`, `run` and `postprocess` are public so that a bench times exactly what `predict` does.
Where pictures are placed and masks pasted is a `PicturePath`: the CPU's, or around an engine the
GPU's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from .closing import Closing
from .contract import Contract, Outputs
from .errors import InputError
from .pictures.given import Given, image_from_pil, is_pil, one_or_more, require_several
from .pictures.picture_path import Canvases, CpuPath, Picture, PicturePath, Sizes
from .results.finite import check_finite
from .results.instances import Instances
from .results.mask_nms import check_mask_iou
from .results.postprocess import instances_from_outputs
from .sessions.interface import Session
from .sessions.options import Pictures


class Predictor(Closing):
    """A session with its pre- and post-processing; closing it closes the session.

    With `nms_iou`, in (0, 1], every result is `Instances.suppressed` at that mask IoU. FastMask's
    proposals are many per object and come unsuppressed: recall is measured on all of them, people
    want one. InputError when it is out of range.

    With `pictures="gpu"` an engine's GPU resizes and places the pictures and pastes and encodes the
    masks, at once and not when they are asked for; pictures may be in its memory. Canvases then
    differ from the CPU's by at most one grey level, masks of equal outputs in nothing. On a
    GPU its kernels were run alone, not yet with an engine: "auto" is "cpu" until a record from one
    shows the two equal and "gpu" faster.
    """

    def __init__(
        self, session: Session, nms_iou: float | None = None, pictures: Pictures = "auto"
    ) -> None:
        """Find the way of pictures.

        Raises:
            InputError: `nms_iou` is out of range, or `pictures` is "gpu" and the session no engine.
            BuildError: `pictures` is "gpu" and a kernel does not run on a GPU this old.
            SessionError: `pictures` is "gpu" and there is too little GPU memory.
        """
        if nms_iou is not None:
            check_mask_iou(nms_iou)
        self.session = session
        self.nms_iou = nms_iou
        self.path = picture_path(session, pictures)

    @property
    def contract(self) -> Contract:
        """What the artefact takes and gives."""
        return self.session.contract

    @property
    def canvases(self) -> tuple[tuple[int, int], ...]:
        """Height and width in pixels of the canvases there are: of one graph one."""
        return (self.contract.canvas_hw,)

    @property
    def at_once(self) -> int:
        """How many pictures to give `predict` at a time, so that its batches are full."""
        return self.contract.batch

    def looked_at(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what is placed on a canvas of a picture of `image_hw`: all of it."""
        return image_hw

    def read_image(self, path: str | Path) -> Picture:
        """A picture file for `predict`, as `maskrt.read_image` reads it.

        With `pictures="gpu"` and nvImageCodec installed a JPEG is decoded on the GPU and stays in
        its memory; a MaskRTWarning tells once where it is not installed.

        Raises:
            InputError: as `preprocess.read_image`.
        """
        return self.path.read_image(path)

    def predict(self, images: Given | Sequence[Given]) -> list[Instances]:
        """Predict any number of pictures, `contract.batch` at a time.

        Args:
            images: one or several pictures of any sizes, each a (H, W, 3) uint8 RGB array, as
                `read_image` returns, the path of a file, or a picture of Pillow. Files are read
                when their batch comes.

        Returns:
            One `Instances` per picture, in order, in that picture's own pixels; of one picture a
            list of one.

        Raises:
            ContractError: a picture is not (H, W, 3) uint8, or one of Pillow of more than 8 bits.
            InputError: a file cannot be read.
            SessionError: the backend failed, or gave NaN or infinity.
        """
        pictures = one_or_more(images)
        batch = self.contract.batch
        results: list[Instances] = []
        for start in range(0, len(pictures), batch):
            part = [self._picture(picture) for picture in pictures[start : start + batch]]
            results += self._predict_batch(part)
        return results

    def _picture(self, given: Given) -> Picture:
        if isinstance(given, (str, Path)):
            return self.read_image(given)
        picture: Any = given
        return image_from_pil(picture) if is_pil(given) else picture

    def stream(self, images: Iterable[Given], depth: int = 2) -> Generator[Instances, None, None]:
        """Predict pictures as they come, the phases of neighbouring batches at the same time.

        While one batch is in the session, another is prepared or finished by its own thread. 2
        keeps a CPU busy; a GPU waits less with 3, one batch in each phase. At most `depth` batches
        are held. Pictures are taken from `images` in the consumer's thread, as results are asked
        for. Closing the generator, as leaving a loop over it does, ends its threads.

        Args:
            images: pictures as `predict` takes them; may never end.
            depth: batches under way at once, 1 or more.

        Yields:
            One `Instances` per picture, in order: what `predict` gives.

        Raises:
            InputError: `depth` is below 1, or a file cannot be read.
            ContractError: a picture is not (H, W, 3) uint8; those before it are given first.
            SessionError: the backend failed, or gave NaN or infinity.
        """
        require_several(images, "stream")
        if depth < 1:
            raise InputError(f"stream: depth is {depth}; expected 1 or more. Use 2 or 3.")
        return self._stream(map(self._picture, images), depth)

    def _stream(self, images: Iterator[Picture], depth: int) -> Generator[Instances, None, None]:
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

    def _predict_batch(self, images: Sequence[Picture]) -> list[Instances]:
        canvases, image_sizes = self.preprocess(images)
        return self.postprocess(self.run(canvases, image_sizes), images, image_sizes)

    def preprocess(self, images: Sequence[Picture]) -> tuple[Canvases, Sizes]:
        """One batch of pictures to canvases and valid sizes; see `place_on_canvas`.

        With `pictures="gpu"` the work is queued: `run` waits for it.
        """
        return self.path.place(images)

    def run(self, canvases: Canvases, image_sizes: Sizes) -> Outputs:
        """Canvases to raw outputs; see `Session.run`."""
        return self.session.run(canvases, image_sizes)

    def postprocess(
        self, outputs: Outputs, images: Sequence[Picture], image_sizes: Sizes
    ) -> list[Instances]:
        """Raw outputs to one `Instances` per picture; `images` give only their sizes.

        Raises:
            SessionError: NaN or infinity in any slot, counted or not: `results/finite.py` says why.
        """
        half = {self.contract.precision, self.session.backend.precision} - {"fp32"}
        check_finite(outputs, self.contract.variant, half=bool(half))
        found = [
            instances_from_outputs(
                outputs,
                index,
                (image.shape[0], image.shape[1]),
                (int(image_sizes[index, 0]), int(image_sizes[index, 1])),
                self.contract,
                self.path.paste,
            )
            for index, image in enumerate(images)
        ]
        if self.nms_iou is None:
            return found
        return [instances.suppressed(self.nms_iou) for instances in found]

    def close(self) -> None:
        """Release the session; the predictor cannot predict afterwards."""
        try:
            self.path.close()
        finally:
            self.session.close()


def picture_path(session: Session, pictures: Pictures) -> PicturePath:
    """The way of pictures around a session; errors as `Predictor`'s."""
    if pictures != "gpu":
        return CpuPath(session.contract)
    from .sessions.trt.session import TrtSession

    if not isinstance(session, TrtSession):
        raise InputError(
            f"{session.contract.variant}: pictures='gpu' for {session.backend} found; expected "
            "'cpu' or 'auto', because engines alone take pictures in GPU memory. Build an engine "
            "with maskrt build, or leave it away."
        )
    from .gpu.picture_path import GpuPath

    return GpuPath(session.contract, session.device_index)
