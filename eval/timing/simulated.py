"""A session that only pretends to be fast, so that reports can be tried without a GPU.

It answers with another session's outputs and takes the times of a recording: a JSON object with
`backend` and `samples_ms`, by scope as a bench writes them, e.g.

    {"backend": "tensorrt", "samples_ms": {"model": [[3.1, 3.0]], "engine": [[2.2, 2.3]]}}

Its backend is called "SIMULATED tensorrt". A bench refuses it beside real rows, a report of it says
so on every page and in its JSON and is never written among the kept records.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.sessions.interface import OnDevice, Outputs, Session
from .runner import SIMULATED

SCOPES = ("model", "engine")


class SimulatedSession:
    """Outputs of `source` in the recorded times. Implements `session.Session`.

    Outputs of a batch are computed once and remembered, so a source may be slower than the
    recording after its first sight of the pictures.
    """

    backend: str
    device: OnDevice | None

    def __init__(
        self,
        source: Session,
        recording: Path,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read the recording.

        Args:
            source: computes the outputs; stays the caller's to close.
            recording: JSON as in the module's docstring; without `engine` there is no engine scope.
            sleep: waits for so many seconds.

        Raises:
            InputError: the recording is missing, not JSON, or holds no positive times.
        """
        name, samples_ms = _read(recording)
        self.backend = f"{SIMULATED} {name}"
        self.contract = source.contract
        self._source = source
        self._sleep = sleep
        self._times_ms = _Replay(samples_ms["model"])
        self._remembered: dict[tuple[bytes, bytes], Outputs] = {}
        self._one_at_a_time = threading.Lock()
        engine = samples_ms.get("engine")
        self.device = None if engine is None else _SimulatedDevice(_Replay(engine), sleep)

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; arguments, result and errors as those of the source."""
        key = (images.tobytes(), image_sizes.tobytes())
        with self._one_at_a_time:
            if key not in self._remembered:
                self._remembered[key] = self._source.run(images, image_sizes)
        self._sleep(self._times_ms.next() / 1e3)
        return {name: array.copy() for name, array in self._remembered[key].items()}

    def close(self) -> None:
        """Forget the remembered outputs."""
        self._remembered.clear()


class _SimulatedDevice:
    """The engine scope of a recording. Implements `session.OnDevice`."""

    def __init__(self, times_ms: _Replay, sleep: Callable[[float], None]) -> None:
        self._times_ms, self._sleep = times_ms, sleep

    def upload(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> None:
        """Nothing to place anywhere."""

    def execute(self) -> None:
        """Wait for the next recorded time."""
        self._sleep(self._times_ms.next() / 1e3)


class _Replay:
    """Recorded times in order, again from the start; for many threads."""

    def __init__(self, times_ms: list[float]) -> None:
        self._times_ms: Iterator[float] = itertools.cycle(times_ms)
        self._lock = threading.Lock()

    def next(self) -> float:
        """The next time in milliseconds."""
        with self._lock:
            return next(self._times_ms)


def _read(path: Path) -> tuple[str, dict[str, list[float]]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        samples_ms = {s: _times(v) for s, v in raw["samples_ms"].items() if s in SCOPES}
        name = str(raw["backend"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise InputError(
            f"{path}: not a recording ({type(err).__name__}: {err}); expected 'backend' and "
            "positive 'samples_ms' by scope. Take a row of a bench's JSON."
        ) from err
    if "model" not in samples_ms:
        raise InputError(
            f"{path}: no samples of the model scope; expected them in 'samples_ms'. "
            "Take a row of a bench's JSON."
        )
    return name.removeprefix(f"{SIMULATED} "), samples_ms


def _times(values: Any) -> list[float]:
    times = np.array(values, np.float64).ravel()
    if not times.size or not (times > 0).all():
        raise ValueError("times that are not positive")
    return [float(ms) for ms in times]
