"""Pictures, folders and videos to overlays and one results file.

    OUT/<name>.jpg or .png   the picture with its instances; JPEG for JPEG, else PNG
    OUT/<name>.mp4           the video, frame by frame
    OUT/results.json         {"images": [...], "categories": [...], "annotations": [...]}

`annotations` are COCO result rows (image_id, category_id, bbox xywh, score, segmentation RLE) of
every instance, also those too low to be drawn; pycocotools' `loadRes` takes the list as it is.
`images` say which file an image_id, counted from 1, is: `file_name` as the user named it, `overlay`
in OUT, `height`, `width`; a video's frames are images of their own, with `frame` counted from 0.

A broken picture or video does not cost the others: they are finished and kept, then it is reported.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..runtime.errors import InputError
from ..runtime.files import write_bytes, write_text
from ..runtime.pictures.preprocess import Image, read_image
from ..runtime.pictures.sources import JPEG_SUFFIXES, is_video, source_files
from ..runtime.pictures.video import BrokenVideoError, VideoReader, video_writer
from ..runtime.predictor import Predictor
from ..runtime.results.instances import Instances
from ..runtime.sessions.open import ModelRef
from .open import model_ref, open_model

T = TypeVar("T")
OnProgress = Callable[[float, str], None]
"""Told the share of the work that is done, 0 to 1, and the file that it was."""

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Written:
    """What a prediction run left in its folder."""

    pictures: int
    """Pictures and video frames."""
    instances: int
    """At or above the score, which are those drawn."""
    results: str
    """Path of the results file."""


@dataclass(frozen=True)
class _Job:
    """One file and where its overlay goes."""

    path: Path
    overlay: Path


def predict_files(
    model: str | Path | ModelRef,
    sources: Sequence[Path],
    out: Path,
    score: float = 0.5,
    *,
    nms_iou: float | None = None,
    on_progress: OnProgress | None = None,
) -> Written:
    """Open a model and predict every source; arguments and errors as `predict_sources`."""
    with open_model(model_ref(model)) as predictor:
        return predict_sources(
            predictor, sources, out, score, nms_iou=nms_iou, on_progress=on_progress
        )


def predict_sources(
    predictor: Predictor,
    sources: Sequence[Path],
    out: Path,
    score: float = 0.5,
    *,
    nms_iou: float | None = None,
    on_progress: OnProgress | None = None,
) -> Written:
    """Predict every source, in the order given, and write overlays and results.

    Args:
        predictor: an opened model.
        sources: picture files, video files, and folders, whose pictures are taken sorted by name.
        out: folder to write, made when it is not there; files of the same names are replaced.
        score: in [0, 1]; instances at or above it are drawn.
        nms_iou: mask IoU in (0, 1] above which the better instance suppresses the other, in
            pictures and results alike; None leaves it to the predictor.
        on_progress: called after every picture and frame. A video is one step more than its
            frames, which are counted when it is opened: the share can fall there.

    Raises:
        InputError: `score` or `nms_iou` is out of range, a source is missing or of an unknown kind,
            `out` holds a source or cannot be written, or (once all the others are done) a picture
            or video is broken.
        SessionError: the backend failed; overlays already written stay.
    """
    if not 0 <= score <= 1:
        raise InputError(f"--score {score}: expected a score from 0 to 1. Correct it.")
    if nms_iou is not None:
        predictor = Predictor(predictor.session, nms_iou)
    jobs = _plan(source_files(sources), out)
    run = _Run(predictor, score, _Progress(on_progress, len(jobs)))
    for video, group in itertools.groupby(jobs, key=lambda job: is_video(job.path)):
        if video:
            run.videos(group)
        else:
            run.pictures(group)
    results = out / RESULTS_FILE
    if run.images:
        write_text(results, run.results_json())
    if run.broken:
        raise _all_broken(run.broken, len(run.images), out)
    return Written(len(run.images), run.drawn, str(results))


def _all_broken(broken: Sequence[InputError], finished: int, out: Path) -> InputError:
    """The first error in full, the others and what was kept as numbers."""
    others = f" {len(broken) - 1} more files are broken." if broken[1:] else ""
    done = f" {out} holds the other {finished} pictures." if finished else ""
    return InputError(f"{broken[0]}{others}{done}")


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

    def __init__(self, predictor: Predictor, score: float, progress: _Progress) -> None:
        self.images: list[dict[str, Any]] = []
        self.drawn = 0
        self.broken: list[InputError] = []
        self._rows: list[dict[str, Any]] = []
        self._predictor, self._score, self._progress = predictor, score, progress

    def pictures(self, jobs: Iterable[_Job]) -> None:
        """Predict picture files, a batch at a time."""
        for part in _batches(self._readable(jobs), self._predictor.contract.batch):
            found = self._predictor.predict([image for _, image in part])
            for (job, image), instances in zip(part, found, strict=True):
                _write_picture(job.overlay, instances.draw(image, self._score))
                self._keep(job, instances, {})
                self._progress.step(job.path)

    def _readable(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, Image]]:
        for job in jobs:
            try:
                image = read_image(job.path)
            except InputError as err:
                self.broken.append(err)
                self._progress.step(job.path)
                continue
            yield job, image

    def videos(self, jobs: Iterable[_Job]) -> None:
        """Predict video files, each as one overlay video; a broken one leaves nothing."""
        for job in jobs:
            images, rows, drawn = len(self.images), len(self._rows), self.drawn
            try:
                self._video(job)
            except BrokenVideoError as err:
                self.broken.append(err)
                del self.images[images:], self._rows[rows:]
                self.drawn = drawn
            self._progress.step(job.path)

    def _video(self, job: _Job) -> None:
        numbers = itertools.count()
        with VideoReader(job.path) as reader, video_writer(job.overlay, reader.fps) as append:
            self._progress.grow(reader.stated_frames)
            for frames in _batches(reader.frames(), self._predictor.contract.batch):
                for frame, found in zip(frames, self._predictor.predict(frames), strict=True):
                    append(found.draw(frame, self._score))
                    self._keep(job, found, {"frame": next(numbers)})
                    self._progress.step(job.path)

    def _keep(self, job: _Job, instances: Instances, extra: dict[str, int]) -> None:
        """Note one picture and its rows."""
        image_id = len(self.images) + 1
        height, width = instances.image_hw
        self.images.append(
            {
                "id": image_id,
                "file_name": str(job.path),
                "overlay": job.overlay.name,
                "height": height,
                "width": width,
                **extra,
            }
        )
        first = len(self._rows) + 1
        rows = instances.to_coco(image_id)
        self._rows += [{"id": first + index, **row} for index, row in enumerate(rows)]
        self.drawn += int((instances.scores >= self._score).sum())

    def results_json(self) -> str:
        """The results file's text."""
        names = self._predictor.contract.class_names
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(names)]
        whole = {"images": self.images, "categories": categories, "annotations": self._rows}
        return json.dumps(whole, separators=(",", ":")) + "\n"


def _plan(paths: Sequence[Path], out: Path) -> list[_Job]:
    """Every file to predict with a name of its own in `out`."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder to write. Choose another --out.")
    inside = next((path for path in paths if path.resolve().parent == out.resolve()), None)
    if inside is not None:
        raise InputError(
            f"{out}: holds the source {inside.name}; expected a folder without sources, where no "
            "overlay can replace one. Choose another --out."
        )
    taken: set[str] = set()
    return [_Job(path, out / _free_name(path, taken)) for path in paths]


def _free_name(path: Path, taken: set[str]) -> str:
    """`a.jpg`, then `a_2.jpg`: sources of one name in different folders keep apart."""
    suffix = path.suffix.lower()
    kept = ".mp4" if is_video(path) else ".jpg" if suffix in JPEG_SUFFIXES else ".png"
    names = (path.stem + (f"_{n}" if n > 1 else "") + kept for n in itertools.count(1))
    # Compared in lower case: some file systems do not tell A.jpg from a.jpg.
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while part := list(itertools.islice(source, size)):
        yield part


def _write_picture(path: Path, image: Image) -> None:
    """Encode (H, W, 3) uint8 RGB by the suffix and write it whole."""
    import cv2

    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_bytes(path, data.tobytes())
