"""The loop over pictures, videos and cameras, and what it has found so far."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.gpu.decode import to_host
from ...runtime.pictures.camera import Camera, CameraReader
from ...runtime.pictures.canvases import CanvasLosses
from ...runtime.pictures.picture_path import Picture
from ...runtime.pictures.preprocess import Image
from ...runtime.pictures.video import BrokenVideoError, VideoReader, video_writer
from ...runtime.predictor import Predictor
from ...runtime.results.drawing import write_picture
from ...runtime.results.instances import Instances
from ...runtime.results.side_by_side import side_by_side
from .overlays import Job
from .results_file import Row
from .until_ctrl_c import until_ctrl_c
from .wanted import Wanted

T = TypeVar("T")
OnProgress = Callable[[float, str], None]
"""Told the share of the work that is done, 0 to 1, and the file that it was."""


class Results(Protocol):
    """What takes the rows of pictures as they come; `ResultsFile` is one."""

    @property
    def pictures(self) -> int:
        """How many were added."""
        ...

    def add(self, image: Row, rows: Iterable[Row]) -> None:
        """Note one picture and its instances."""
        ...

    def mark(self) -> Callable[[], None]:
        """A function that takes back all that is added from now on."""
        ...


@dataclass(frozen=True)
class Asked:
    """A network and what is wanted of it."""

    predictor: Predictor
    wanted: Wanted
    name: str = ""
    """Written above its overlays where there are two networks'."""

    def find(self, images: Sequence[Picture]) -> list[Instances]:
        """What is kept of each picture."""
        return [self.wanted.kept(found) for found in self.predictor.predict(images)]


class Progress:
    """Counts steps for a callback, and learns on the way how many frames a video has."""

    def __init__(self, tell: OnProgress | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def grow(self, more: int) -> None:
        """So many steps more than was known."""
        self._total += more

    def step(self, path: Path | Camera) -> None:
        """One of them is done."""
        self._done += 1
        if self._tell is not None:
            self._tell(min(self._done / self._total, 1.0), path.name)


class Run:
    """The loop over the files, and what it has found so far."""

    def __init__(
        self,
        asked: Asked,
        other: Asked | None,
        frames: int | None,
        progress: Progress,
        results: Results,
    ) -> None:
        """Nothing is predicted yet.

        Args:
            asked: gives results and overlays.
            other: has its overlay beside; None where there is none.
            frames: of a video or camera at most; None is all.
            progress: told of each step.
            results: takes the rows.
        """
        self.drawn = 0
        self.best: float | None = None
        self.broken: list[InputError] = []
        self.losses = CanvasLosses(asked.predictor.contract.resize, asked.predictor.canvases)
        self.no_overlay: set[str] = set()
        self._asked, self._other, self._frames = asked, other, frames
        self._progress, self._results = progress, results

    def all(self, jobs: Iterable[Job]) -> None:
        """Predict all that there is, in its order."""
        for moves, group in itertools.groupby(jobs, key=lambda job: job.moves):
            if moves:
                self.videos(group)
            else:
                self.pictures(group)

    def pictures(self, jobs: Iterable[Job]) -> None:
        """Predict picture files, a batch at a time."""
        for part in _batches(self._readable(jobs), self._asked.predictor.at_once):
            found = self._asked.find([image for _, image in part])
            overlays = self._overlays([to_host(image) for _, image in part], found)
            for (job, _), instances, overlay in zip(part, found, overlays, strict=True):
                with self._may_lose_overlay(job):
                    write_picture(job.overlay, overlay)
                self._keep(job, instances, {})
                self._progress.step(job.path)

    def _overlays(self, images: Sequence[Image], found: Sequence[Instances]) -> Iterator[Image]:
        """Of each picture, with the other network's beside it where there is one."""
        drawn = map(_drawn, itertools.repeat(self._asked), images, found)
        if self._other is None:
            yield from drawn
            return
        others = map(_drawn, itertools.repeat(self._other), images, self._other.find(images))
        for pair in zip(drawn, others, strict=True):
            yield side_by_side(pair, (self._asked.name, self._other.name))

    def _readable(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Picture]]:
        for job in jobs:
            try:
                image = self._asked.predictor.read_image(str(job.path))
            except InputError as err:
                self.broken.append(err)
                self._progress.step(job.path)
                continue
            yield job, image

    def videos(self, jobs: Iterable[Job]) -> None:
        """Predict videos and cameras, each as one overlay video; a broken one leaves nothing."""
        for job in jobs:
            take_back, drawn, best = self._results.mark(), self.drawn, self.best
            losses = copy.copy(self.losses)
            try:
                with self._may_lose_overlay(job):
                    self._video(job)
            except BrokenVideoError as err:
                self.broken.append(err)
                take_back()
                self.drawn, self.best, self.losses = drawn, best, losses
            self._progress.step(job.path)

    def _video(self, job: Job) -> None:
        numbers = itertools.count()
        with contextlib.ExitStack() as stack:
            reader = _opened(job.path)
            stack.callback(reader.close)
            append: Callable[[Image], None] = lambda frame: None  # noqa: E731
            with self._may_lose_overlay(job):
                append = stack.enter_context(video_writer(job.overlay, reader.fps))
            self._progress.grow(min(reader.stated_frames, self._frames or reader.stated_frames))
            frames: Iterator[Image] = itertools.islice(reader.frames(), self._frames)
            if isinstance(reader, CameraReader):
                ended = stack.enter_context(until_ctrl_c())
                frames = itertools.takewhile(lambda _: not ended.is_set(), frames)
            for part in _batches(frames, self._batch_of(reader)):
                found = self._asked.find(part)
                for instances, overlay in zip(found, self._overlays(part, found), strict=True):
                    append(overlay)
                    self._keep(job, instances, {"frame": next(numbers)})
                    self._progress.step(job.path)

    def _batch_of(self, reader: VideoReader | CameraReader) -> int:
        """Of a camera one frame at a time: it is shown at once and not when a batch is full."""
        return 1 if isinstance(reader, CameraReader) else self._asked.predictor.at_once

    @contextlib.contextmanager
    def _may_lose_overlay(self, job: Job) -> Iterator[None]:
        """Where an overlay cannot be written the run goes on without it."""
        try:
            yield
        except BrokenVideoError:
            raise
        except InputError as err:
            self.broken.append(err)
            self.no_overlay.add(job.overlay.name)

    def _keep(self, job: Job, instances: Instances, extra: dict[str, int]) -> None:
        """Note one picture and its rows."""
        height, width = instances.image_hw
        self.losses.add(self._asked.predictor.looked_at(instances.image_hw))
        image = {
            "file_name": str(job.path),
            "overlay": job.overlay.name,
            "height": height,
            "width": width,
            **extra,
        }
        self._results.add(image, instances.to_coco(self._results.pictures + 1))
        self.drawn += len(self._asked.wanted.drawn(instances))
        if len(instances):
            self.best = max(self.best or 0.0, float(instances.scores.max()))


def categories_of(contract: Contract) -> list[Row]:
    """COCO's categories of a network's classes."""
    names = contract.class_names
    ids = contract.category_ids or range(1, len(names) + 1)
    return [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while part := list(itertools.islice(source, size)):
        yield part


def _drawn(asked: Asked, image: Image, kept: Instances) -> Image:
    return asked.wanted.drawn(kept).draw(image, score_threshold=0.0)


def _opened(source: Path | Camera) -> VideoReader | CameraReader:
    return CameraReader(source) if isinstance(source, Camera) else VideoReader(source)
