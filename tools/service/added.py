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
    """Milliseconds of a full batch both ways, their ratio and difference, as JSON values."""
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

        ways = {"predict": _timed(here, groups), "service": _timed(there, groups)}
        times = take(ways, turns)
    samples = {name: np.array(values)[:, None] for name, values in times.items()}
    slower = speed_ratio(samples["service"], samples["predict"])
    return {
        "batch": batch,
        "samples_ms": times,
        "summaries": {name: asdict(summarize(values)) for name, values in samples.items()},
        "service_over_predict": {"value": slower.value, "low": slower.low, "high": slower.high},
        "added_ms": float(np.median(samples["service"] - samples["predict"])),
    }


def _timed(
    way: Callable[[Sequence[bytes]], None], groups: Sequence[Sequence[bytes]]
) -> Callable[[], float]:
    """Calls `way` with the next group; both ways get the same ones in the same turn."""
    following = itertools.cycle(groups)

    def timed() -> float:
        group = next(following)
        begin = time.perf_counter()
        way(group)
        return 1000 * (time.perf_counter() - begin)

    return timed
