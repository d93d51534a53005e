"""Many pictures through one predictor: memory, handles and results must stay as they were.

    python -m maskrt.tools.endurance MODEL [--pictures 10000] [--threads 8] [--out FILE.json]

Memory is this process's resident set, handles its open file descriptors (/proc; Linux only). The
first tenth of the pictures is warm-up: allocators and thread pools still grow. Then the largest
resident set of each half of the rest is compared; a leak of one mask per picture shows as growth.
Afterwards `--threads` threads share the predictor, and each must get what one thread got.

With `--video` the pictures are the frames of a drawn video, and `maskrt predict` writes its overlay
and results: reader, writer and rows are part of what must stay as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..eval.machine.environment import environment
from ..runtime.errors import InputError
from ..runtime.files import write_text
from ..runtime.pictures.preprocess import read_image
from ..runtime.pictures.video import video_writer
from ..runtime.predictor import Predictor
from ..runtime.results.instances import Instances
from ..runtime.sessions.open import model_from_text, open_artefact
from ..workflows.prediction import predict_sources
from ..workflows.shipped import PICTURE

Image = npt.NDArray[np.uint8]

WARM_UP = 0.1
SAMPLES = 100


@dataclass(frozen=True)
class Endurance:
    """What a long run left behind."""

    pictures: int
    rss_bytes: tuple[int, ...]
    """At equal distances over the run, warm-up included."""
    handles: tuple[int, ...]
    """Open file descriptors, at the same moments."""
    growth: float
    """Largest resident set of the last half over that of the half before, minus 1."""
    handle_growth: int
    """The same as a difference of file descriptors."""


class _Watch:
    """Looks at this process at equal distances over a run."""

    def __init__(self, pictures: int) -> None:
        if pictures < SAMPLES or not Path("/proc/self/statm").exists():
            raise InputError(
                f"endurance: {pictures} pictures on {sys.platform}; expected at least {SAMPLES} on "
                "Linux. Ask for more."
            )
        self._pictures, self._done = pictures, 0
        self._rss: list[int] = []
        self._handles: list[int] = []

    def step(self) -> None:
        """One picture is done."""
        self._done += 1
        if self._done % (self._pictures // SAMPLES) == 0:
            self._rss.append(_rss_bytes())
            self._handles.append(len(os.listdir("/proc/self/fd")))

    def found(self) -> Endurance:
        """After the run."""
        rss, handles = self._rss, self._handles
        start = round(WARM_UP * len(rss))
        middle = (start + len(rss)) // 2
        return Endurance(
            pictures=self._pictures,
            rss_bytes=tuple(rss),
            handles=tuple(handles),
            growth=max(rss[middle:]) / max(rss[start:middle]) - 1.0,
            handle_growth=max(handles[middle:]) - max(handles[start:middle]),
        )


def endure(predictor: Predictor, images: Sequence[Image], pictures: int) -> Endurance:
    """Predict `pictures` pictures, one after the other, `images` in turn.

    Raises:
        InputError: fewer pictures than samples, or a system without /proc.
    """
    watch = _Watch(pictures)
    for index in range(pictures):
        predictor.predict([images[index % len(images)]])
        watch.step()
    return watch.found()


def endure_video(predictor: Predictor, images: Sequence[Image], frames: int) -> Endurance:
    """Predict a video of `frames` frames, `images` in turn; errors as `endure`."""
    watch = _Watch(frames)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        with video_writer(clip, 25.0) as append:
            for index in range(frames):
                append(images[index % len(images)])
        out = Path(folder) / "out"
        predict_sources(predictor, [clip], out, on_progress=lambda *_: watch.step())
    return watch.found()


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def differing_pictures(predictor: Predictor, images: Sequence[Image], threads: int) -> list[int]:
    """Indices of the pictures whose result differs between one thread and `threads` at once."""
    alone = [predictor.predict([image])[0] for image in images]
    with ThreadPoolExecutor(threads) as pool:
        shared = list(pool.map(lambda image: predictor.predict([image])[0], images))
    return [i for i, pair in enumerate(zip(alone, shared, strict=True)) if not _equal(*pair)]


def _equal(one: Instances, other: Instances) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("boxes", "scores", "labels", "masks")
    )


def _noise() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(16)]


def _drawn_frames() -> list[Image]:
    """Drawn shapes that move to the right and come in again at the left."""
    image = read_image(PICTURE)[:240, :320]
    return [np.roll(image, 20 * step, axis=1) for step in range(16)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print and keep a long run; exit code 1 when something grew or differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=model_from_text, help=".onnx or .engine")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    parser.add_argument("--video", action="store_true", help="frames of a video, by maskrt predict")
    arguments = parser.parse_args(argv)
    model = arguments.model
    images = _drawn_frames() if arguments.video else _noise()
    session = open_artefact(model.path, model.session, model.options)
    with Predictor(session, pictures=model.options.pictures) as predictor:
        run = (endure_video if arguments.video else endure)(predictor, images, arguments.pictures)
        differing = differing_pictures(predictor, images, arguments.threads)
    found = {
        **asdict(run),
        **({"video": True} if arguments.video else {}),
        "threads": arguments.threads,
        "differing_pictures": differing,
        "environment": environment([model.path]),
    }
    text = json.dumps(found)
    if arguments.out is not None:
        write_text(arguments.out, text + "\n")
    print(
        f"{model}: {run.pictures} pictures, resident set {run.growth:+.2%}, "
        f"{run.handle_growth:+d} handles; {len(differing)} of {len(images)} pictures differ "
        f"between 1 and {arguments.threads} threads"
    )
    print(text)
    return int(run.growth > 0.02 or run.handle_growth > 0 or bool(differing))


if __name__ == "__main__":
    sys.exit(main())
