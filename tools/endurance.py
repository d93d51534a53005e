"""Many pictures through one predictor: memory, handles and results must stay as they were.

    python -m maskrt.tools.endurance MODEL [--pictures 10000] [--threads 8] [--out FILE.json]

Memory is this process's resident set, handles its open file descriptors (/proc; Linux only). The
first tenth of the pictures is warm-up: allocators and thread pools still grow. Then the largest
resident set of each half of the rest is compared; a leak of one mask per picture shows as growth.
Afterwards `--threads` threads share the predictor, and each must get what one thread got.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..eval.machine.environment import environment
from ..runtime.errors import InputError
from ..runtime.files import write_text
from ..runtime.predictor import Predictor
from ..runtime.results.instances import Instances
from ..runtime.sessions.open import model_from_text, open_artefact

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


def endure(predictor: Predictor, images: Sequence[Image], pictures: int) -> Endurance:
    """Predict `pictures` pictures, one after the other, `images` in turn.

    Raises:
        InputError: fewer pictures than samples, or a system without /proc.
    """
    if pictures < SAMPLES or not Path("/proc/self/statm").exists():
        raise InputError(
            f"endurance: {pictures} pictures on {sys.platform}; expected at least {SAMPLES} on "
            "Linux. Ask for more."
        )
    every = pictures // SAMPLES
    rss, handles = [], []
    for index in range(pictures):
        predictor.predict([images[index % len(images)]])
        if index % every == every - 1:
            rss.append(_rss_bytes())
            handles.append(len(os.listdir("/proc/self/fd")))
    start = round(WARM_UP * len(rss))
    middle = (start + len(rss)) // 2
    return Endurance(
        pictures=pictures,
        rss_bytes=tuple(rss),
        handles=tuple(handles),
        growth=max(rss[middle:]) / max(rss[start:middle]) - 1.0,
        handle_growth=max(handles[middle:]) - max(handles[start:middle]),
    )


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


def main(argv: Sequence[str] | None = None) -> int:
    """Print and keep a long run; exit code 1 when something grew or differed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=model_from_text, help=".onnx or .engine")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    arguments = parser.parse_args(argv)
    model = arguments.model
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(16)]
    session = open_artefact(model.path, model.session, model.options)
    with Predictor(session, pictures=model.options.pictures) as predictor:
        run = endure(predictor, images, arguments.pictures)
        differing = differing_pictures(predictor, images, arguments.threads)
    found = {
        **asdict(run),
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
