"""A bundle as a `Predictor`: each picture goes to the canvas that keeps most of its pixels.

Batches fill per canvas and results keep the order of the pictures. The first graph is opened at
once, so that what cannot run here is said at once; the others with the first picture for them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .bundle import BundleIndex, check_contract, check_file, index_path, read_bundle
from .contract import Outputs
from .pictures.canvases import choose_canvas, choose_canvas_for_all
from .pictures.given import Given, one_or_more
from .pictures.picture_path import Canvases, Picture, Sizes
from .predictor import Predictor
from .results.instances import Instances
from .results.mask_nms import check_mask_iou
from .sessions.interface import closed_error

BATCHES_AT_ONCE = 4
"""Half a batch is empty for each canvas at their end, of 4 with 2 canvases a quarter."""
Placed = tuple[int, Picture]
"""A picture and its place in the run."""


class BundlePredictor(Predictor):
    """Predictors of a bundle's graphs behind the methods of one; closing it closes them.

    `contract` and `session` are those of the first graph; contracts differ in their canvas alone.
    """

    def __init__(
        self, path: Path, open_graph: Callable[[Path], Predictor], nms_iou: float | None = None
    ) -> None:
        """Read the index, check the shared weights and open the first graph.

        Args:
            path: the bundle's folder or its index.
            open_graph: opens one file of it.
            nms_iou: as `Predictor` takes it.

        Raises:
            InputError: no index, or a file that is not the one it names.
            ContractError: a graph's contract is not what the index says.
            SessionError: a graph cannot be opened here.
        """
        if nms_iou is not None:
            check_mask_iou(nms_iou)
        self.index: BundleIndex = read_bundle(path)
        self._folder, self._open_graph = index_path(path).parent, open_graph
        self._opened: dict[int, Predictor] = {}
        self._one_at_a_time = threading.Lock()
        self._closed = False
        if self.index.weights is not None:
            check_file(self._folder, self.index.weights)
        super().__init__(self._graph(0).session, nms_iou)
        self.path = self._graph(0).path  # reading and pasting depend on no canvas

    @property
    def canvases(self) -> tuple[tuple[int, int], ...]:
        """Height and width in pixels of each graph's canvas."""
        return self.index.canvases

    @property
    def at_once(self) -> int:
        """Several batches, where one holds several pictures and these go to several canvases."""
        batch = self.index.batch
        return batch if 1 in (batch, len(self.index.graphs)) else BATCHES_AT_ONCE * batch

    def predict(self, images: Given | Sequence[Given]) -> list[Instances]:
        """Predict any number of pictures; arguments, result and errors as `Predictor.predict`."""
        pictures = one_or_more(images)
        if any(isinstance(picture, (str, Path)) for picture in pictures):
            # as they come: all of them may not fit in memory
            return list(self._stream(map(self._picture, pictures), 1))
        return self._predict_all([self._picture(picture) for picture in pictures])

    def _predict_all(self, images: Sequence[Picture]) -> list[Instances]:
        by_canvas: dict[int, list[int]] = {}
        for place, image in enumerate(images):
            by_canvas.setdefault(self._canvas_of(image), []).append(place)
        found: dict[int, Instances] = {}
        for canvas, places in by_canvas.items():
            results = self._predict_on(canvas, [images[place] for place in places])
            found.update(zip(places, results, strict=True))
        return [found[place] for place in range(len(images))]

    def _stream(self, images: Iterator[Picture], depth: int) -> Generator[Instances, None, None]:
        """As `Predictor.stream`; of each canvas one batch more may be waiting to be full."""
        under_way: deque[tuple[list[int], Future[list[Instances]]]] = deque()
        done: dict[int, Instances] = {}
        following = 0
        pool = ThreadPoolExecutor(depth, thread_name_prefix="maskrt-stream")

        def finish_first() -> Iterator[Instances]:
            nonlocal following
            places, future = under_way.popleft()
            done.update(zip(places, future.result(), strict=True))
            while following in done:
                yield done.pop(following)
                following += 1

        try:
            for canvas, batch in full_batches(images, self._canvas_of, self.index.batch):
                pictures = [image for _, image in batch]
                future = pool.submit(self._predict_on, canvas, pictures)
                under_way.append(([place for place, _ in batch], future))
                if len(under_way) == depth:
                    yield from finish_first()
            while under_way:
                yield from finish_first()
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_on(self, canvas: int, images: Sequence[Picture]) -> list[Instances]:
        found = self._graph(canvas).predict(images)
        if self.nms_iou is None:
            return found
        return [instances.suppressed(self.nms_iou) for instances in found]

    def preprocess(self, images: Sequence[Picture]) -> tuple[Canvases, Sizes]:
        """One batch on one canvas: the one that keeps most pixels of all its pictures."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        canvas = choose_canvas_for_all(sizes, self.contract.resize, self.index.canvases)
        return self._graph(canvas).preprocess(images)

    def run(self, canvases: Canvases, image_sizes: Sizes) -> Outputs:
        """Canvases to raw outputs, by the graph whose canvas they have."""
        hw = (canvases.shape[1], canvases.shape[2])
        known = self.index.canvases
        return self._graph(known.index(hw) if hw in known else 0).run(canvases, image_sizes)

    def close(self) -> None:
        """Release every graph that was opened; the predictor cannot predict afterwards."""
        with self._one_at_a_time:
            self._closed = True
            for predictor in self._opened.values():
                predictor.close()

    def _canvas_of(self, image: Picture) -> int:
        """A picture that is none goes to the first, whose predictor refuses it."""
        shape: tuple[int, ...] = getattr(image, "shape", ())
        if len(shape) != 3 or min(shape) < 1:
            return 0
        return choose_canvas((shape[0], shape[1]), self.contract.resize, self.index.canvases)

    def _graph(self, place: int) -> Predictor:
        """The predictor of one graph, opened when it is first asked for."""
        with self._one_at_a_time:
            if self._closed:
                raise closed_error(self.index.variant)
            if place not in self._opened:
                self._opened[place] = self._checked(place)
            return self._opened[place]

    def _checked(self, place: int) -> Predictor:
        graph = self.index.graphs[place]
        path = check_file(self._folder, graph)
        predictor = self._open_graph(path)
        try:
            check_contract(path, predictor.contract, self.index, graph)
        except BaseException:
            predictor.close()
            raise
        return predictor


def full_batches(
    images: Iterable[Picture], canvas_of: Callable[[Picture], int], size: int
) -> Iterator[tuple[int, list[Placed]]]:
    """Batches of one canvas each, as full as order allows, each picture with its place.

    A batch goes when it is full. Where a picture has waited while `size` batches' worth of others
    came, its canvas is rare: its batch goes as it is, so that results after it need not wait.

    Args:
        images: as they come; may never end.
        canvas_of: the canvas a picture goes to.
        size: pictures in a full batch.

    Yields:
        The canvas and 1 to `size` pictures for it.
    """
    waiting: dict[int, list[Placed]] = {}
    for place, image in enumerate(images):
        canvas = canvas_of(image)
        batch = waiting.setdefault(canvas, [])
        batch.append((place, image))
        if len(batch) == size:
            yield canvas, waiting.pop(canvas)
        for other in [c for c, held in waiting.items() if place - held[0][0] >= size * size]:
            yield other, waiting.pop(other)
    yield from waiting.items()
