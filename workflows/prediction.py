"""Pictures, folders and videos to overlays and one results file.

    OUT/<name>.jpg or .png   the picture with its instances; JPEG for JPEG, else PNG
    OUT/<name>.mp4           the video, frame by frame
    OUT/results.json         {"images": [...], "categories": [...], "annotations": [...]}

`annotations` are COCO result rows (image_id, category_id, bbox xywh, score, segmentation RLE) of
every instance, also those too low to be drawn. pycocotools takes the list as it is:

    coco.loadRes(json.load(open("OUT/results.json"))["annotations"])

`images` say which file an image_id, counted from 1, is: `file_name` as the user named it, `overlay`
in OUT (null where it could not be written), `height`, `width`; a video's frames are images of their
own, with `frame` counted from 0. An odd side of a video is one pixel more in its overlay.

A picture or video that is broken, or whose overlay cannot be written, does not cost the others:
they are finished and kept, and it is reported.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..runtime.errors import InputError
from ..runtime.gpu.decode import to_host
from ..runtime.pictures.canvases import CanvasLosses
from ..runtime.pictures.picture_path import Picture
from ..runtime.pictures.preprocess import Image
from ..runtime.pictures.sources import is_video, skipped_files, source_files
from ..runtime.pictures.video import BrokenVideoError, VideoReader, video_writer
from ..runtime.predictor import Predictor
from ..runtime.results.drawing import write_picture
from ..runtime.results.instances import Instances
from ..runtime.results.mask_nms import check_mask_iou
from ..runtime.sessions.open import ModelRef
from .data import require_at_least_one
from .open import model_ref, open_model, open_server
from .overlays import Job, plan_overlays
from .results_file import ResultsFile
from .shipped import named_picture, what_it_knows

T = TypeVar("T")
OnProgress = Callable[[float, str], None]
"""Told the share of the work that is done, 0 to 1, and the file that it was."""

RESULTS_FILE = "results.json"
MOST_PROPOSALS = 20
"""Drawn on a picture unless asked otherwise: hundreds over each other show nothing."""


@dataclass(frozen=True)
class Written:
    """What a prediction run left in its folder."""

    pictures: int
    """Pictures and video frames."""
    instances: int
    """Drawn: at or above the score, and of each picture no more than were asked for."""
    results: str
    """Path of the results file."""
    broken: tuple[str, ...] = ()
    """A sentence for each source that is broken and each overlay that could not be written."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files of source folders that are no pictures: how many of each suffix."""
    others: int = 0
    """Files in the folder that are not of this run, so the results file does not name them."""
    lost: str | None = None
    """How many pictures lost how many pixels to the canvas, in a sentence; None where none did."""
    origin: str = ""
    """How the model's weights came about, in words; empty where its file does not say."""
    knows: str = ""
    """What the model can find, in words."""
    best: float | None = None
    """Highest score of all instances, drawn or not; None where there are none."""


def predict_files(
    model: str | Path | ModelRef,
    sources: Sequence[Path],
    out: Path,
    score: float = 0.5,
    *,
    most: int | None = None,
    nms_iou: float | None = None,
    server: str | None = None,
    token_file: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Written:
    """Open a model and predict every source; arguments and errors as `predict_sources`.

    With `server`, an address, `model` is a name there, and `open_server` says what it may raise.
    """
    if server is None:
        opened = open_model(model_ref(model))
    else:
        opened = open_server(server, str(model), token_file)
    with opened as predictor:
        return predict_sources(
            predictor, sources, out, score, most=most, nms_iou=nms_iou, on_progress=on_progress
        )


def predict_sources(
    predictor: Predictor,
    sources: Sequence[Path],
    out: Path,
    score: float = 0.5,
    *,
    most: int | None = None,
    nms_iou: float | None = None,
    on_progress: OnProgress | None = None,
) -> Written:
    """Predict every source, in the order given, and write overlays and results.

    Args:
        predictor: an opened model.
        sources: picture files, video files, and folders, whose pictures are taken sorted by name;
            `shapes.jpg`, where there is no such file, is the drawn picture that comes with maskrt.
        out: folder to write, made when it is not there; files of the same names are replaced.
        score: in [0, 1]; instances at or above it are drawn.
        most: so many of them are drawn on a picture, the best; None is all, of proposals
            `MOST_PROPOSALS`.
        nms_iou: mask IoU in (0, 1] above which the better instance suppresses the other, in
            pictures and results alike; None leaves it to the predictor.
        on_progress: called after every picture and frame. A video is one step more than its
            frames, which are counted when it is opened: the share can fall there.

    Raises:
        InputError: `score`, `most` or `nms_iou` is out of range, a source is missing or of an
            unknown kind, `out` holds a source or cannot be written, or all pictures and videos are
            broken; where some are, `Written.broken` says so.
        SessionError: the backend failed; overlays already written stay.
    """
    if not 0 <= score <= 1:
        raise InputError(f"--score {score}: expected a score from 0 to 1. Correct it.")
    if nms_iou is not None:
        check_mask_iou(nms_iou)
    if most is not None:
        require_at_least_one(most=most)
    elif predictor.contract.task == "proposals":
        most = MOST_PROPOSALS
    sources = [named_picture(source) for source in sources]
    jobs = plan_overlays(source_files(sources), out)
    skipped = skipped_files(sources)
    with ResultsFile(out / RESULTS_FILE) as results:
        run = _Run(predictor, score, most, nms_iou, _Progress(on_progress, len(jobs)), results)
        for video, group in itertools.groupby(jobs, key=lambda job: is_video(job.path)):
            if video:
                run.videos(group)
            else:
                run.pictures(group)
        if not results.pictures:
            raise _all_broken(run.broken)
        run.write_results()
        pictures = results.pictures
    names = {job.overlay.name for job in jobs} | {RESULTS_FILE}
    others = sum(p.name not in names and not p.name.startswith(".") for p in out.iterdir())
    broken = tuple(map(str, run.broken))
    lost = run.losses.sentence
    return Written(
        *(pictures, run.drawn, str(results.path), broken, skipped, others, lost),
        origin=predictor.contract.origin,
        knows=what_it_knows(predictor.contract),
        best=run.best,
    )


def _all_broken(broken: Sequence[InputError]) -> InputError:
    """The first error in full, the others as a number."""
    others = f" {len(broken) - 1} more files are broken." if broken[1:] else ""
    return InputError(f"{broken[0]}{others}")


class _Progress:
    """Counts steps for a callback, and learns on the way how many frames a video has."""

    def __init__(self, tell: OnProgress | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def grow(self, more: int) -> None:
        self._total += more

    def step(self, path: Path) -> None:
        self._done += 1
        if self._tell is not None:
            self._tell(min(self._done / self._total, 1.0), path.name)


class _Run:
    """The loop over the files, and what it has found so far."""

    def __init__(
        self,
        predictor: Predictor,
        score: float,
        most: int | None,
        nms_iou: float | None,
        progress: _Progress,
        results: ResultsFile,
    ) -> None:
        self.drawn = 0
        self.best: float | None = None
        self.broken: list[InputError] = []
        self.losses = CanvasLosses(predictor.contract.resize, predictor.canvases)
        self._no_overlay: set[str] = set()
        self._predictor, self._nms_iou = predictor, nms_iou
        self._score, self._most = score, most
        self._progress, self._results = progress, results

    def pictures(self, jobs: Iterable[Job]) -> None:
        """Predict picture files, a batch at a time."""
        for part in _batches(self._readable(jobs), self._predictor.at_once):
            found = self._predict([image for _, image in part])
            for (job, image), instances in zip(part, found, strict=True):
                with self._may_lose_overlay(job):
                    write_picture(job.overlay, self._draw(instances, to_host(image)))
                self._keep(job, instances, {})
                self._progress.step(job.path)

    def _predict(self, images: Sequence[Picture]) -> list[Instances]:
        found = self._predictor.predict(images)
        if self._nms_iou is None:
            return found
        return [instances.suppressed(self._nms_iou) for instances in found]

    def _draw(self, instances: Instances, image: Image) -> Image:
        return instances.draw(image, self._score, self._most)

    def _readable(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Picture]]:
        for job in jobs:
            try:
                image = self._predictor.read_image(job.path)
            except InputError as err:
                self.broken.append(err)
                self._progress.step(job.path)
                continue
            yield job, image

    def videos(self, jobs: Iterable[Job]) -> None:
        """Predict video files, each as one overlay video; a broken one leaves nothing."""
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
        with VideoReader(job.path) as reader, contextlib.ExitStack() as stack:
            append: Callable[[Image], None] = lambda frame: None  # noqa: E731
            with self._may_lose_overlay(job):
                append = stack.enter_context(video_writer(job.overlay, reader.fps))
            self._progress.grow(reader.stated_frames)
            for frames in _batches(reader.frames(), self._predictor.at_once):
                for frame, found in zip(frames, self._predict(frames), strict=True):
                    append(self._draw(found, frame))
                    self._keep(job, found, {"frame": next(numbers)})
                    self._progress.step(job.path)

    @contextlib.contextmanager
    def _may_lose_overlay(self, job: Job) -> Iterator[None]:
        """Where an overlay cannot be written the run goes on without it."""
        try:
            yield
        except BrokenVideoError:
            raise
        except InputError as err:
            self.broken.append(err)
            self._no_overlay.add(job.overlay.name)

    def _keep(self, job: Job, instances: Instances, extra: dict[str, int]) -> None:
        """Note one picture and its rows."""
        height, width = instances.image_hw
        self.losses.add(instances.image_hw)
        image = {
            "file_name": str(job.path),
            "overlay": job.overlay.name,
            "height": height,
            "width": width,
            **extra,
        }
        self._results.add(image, instances.to_coco(self._results.pictures + 1))
        drawn = int((instances.scores >= self._score).sum())
        self.drawn += drawn if self._most is None else min(drawn, self._most)
        if len(instances):
            self.best = max(self.best or 0.0, float(instances.scores.max()))

    def write_results(self) -> None:
        """Put the results file in place."""
        names = self._predictor.contract.class_names
        ids = self._predictor.contract.category_ids or range(1, len(names) + 1)
        categories = [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]
        self._results.write(categories, self._no_overlay)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while part := list(itertools.islice(source, size)):
        yield part
