"""What the service adds to `predict`: the same files both ways, in turns.

    in this process   bytes --decode--> pictures --predict--> instances --> run lengths
    by the service    bytes --HTTP--> the same and JSON --HTTP-->

Full batches are as many requests at the same time as the artefact's batch has places.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import httpx
import numpy as np

from ...eval.timing.bootstrap import speed_ratio, summarize
from ...runtime.pictures.preprocess import decoded_image
from ...runtime.predictor import Predictor
from ..turns import take
from .process import Served


def added(
    served: Served, predictor: Predictor, files: Sequence[bytes], turns: int
) -> dict[str, object]:
    """Milliseconds of a full batch both ways, ratio, difference, processor time; JSON values."""
    batch = predictor.contract.batch
    groups = [
        [files[(start + n) % len(files)] for n in range(batch)] for start in range(len(files))
    ]

    def here(group: Sequence[bytes]) -> None:
        images = [decoded_image(data, "a picture") for data in group]
        for found in predictor.predict(images):
            found.rles()

    with (
        httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(batch) as pool,
    ):

        def there(group: Sequence[bytes]) -> None:
            for answer in pool.map(lambda data: client.post("/predict", content=data), group):
                answer.raise_for_status()

        ways = {
            "predict": Timed(here, groups, time.process_time),
            "service": Timed(there, groups, lambda: served.cpu_s),
        }
        times = take({name: way.call for name, way in ways.items()}, turns)
    samples = {name: np.array(values)[:, None] for name, values in times.items()}
    slower = speed_ratio(samples["service"], samples["predict"])
    return {
        "batch": batch,
        "samples_ms": times,
        "summaries": {name: asdict(summarize(values)) for name, values in samples.items()},
        "service_over_predict": {"value": slower.value, "low": slower.low, "high": slower.high},
        "cpu_ms": {name: way.cpu_ms for name, way in ways.items()},
        "added_ms": float(np.median(samples["service"] - samples["predict"])),
    }


class Timed:
    """One way, called with the next group each time; both get the same ones in the same turn."""

    def __init__(
        self,
        way: Callable[[Sequence[bytes]], None],
        groups: Sequence[Sequence[bytes]],
        cpu_s: Callable[[], float],
    ) -> None:
        """Make it; `cpu_s` is the processor time so far of the process that does the work."""
        self._way, self._groups, self._cpu_s = way, itertools.cycle(groups), cpu_s
        self._calls, self._spent_s = 0, 0.0

    def call(self) -> float:
        """Run once; the milliseconds that it took."""
        group, before, begin = next(self._groups), self._cpu_s(), time.perf_counter()
        self._way(group)
        taken = time.perf_counter() - begin
        self._spent_s += self._cpu_s() - before
        self._calls += 1
        return 1000 * taken

    @property
    def cpu_ms(self) -> float:
        """Processor time of a call, which other work on the machine changes little."""
        return 1000 * self._spent_s / self._calls
