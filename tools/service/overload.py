"""More requests than the service can answer: what becomes of each of them, and of its memory.

Capacity is what a few clients that always wait for their answer get. Then requests are sent at
several times that rate, whether the ones before were answered or not.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np

from .process import Served

CLIENTS = 8
"""That find the capacity."""
WARM_UP = 0.1
"""Of the time, before which allocators still grow."""


@dataclass(frozen=True)
class Picture:
    """A file and the answer to it, byte for byte."""

    data: bytes
    answer: bytes


@dataclass
class Outcome:
    """What became of requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by the kind of error."""
    differing: int = 0
    """Answers that are not those of `predict`."""
    without_retry_after: int = 0
    """Refusals that do not say when to try again."""
    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)

    def add(self, answer: httpx.Response, picture: Picture, ms: float) -> None:
        """Count one answer."""
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            self.answered_ms.append(ms)
            self.differing += answer.content != picture.answer
        else:
            self.refused_ms.append(ms)
            self.without_retry_after += "retry-after" not in answer.headers


def capacity(served: Served, pictures: Sequence[Picture], seconds: float) -> float:
    """Answers in a second to clients that wait for each."""
    outcome = Outcome()

    async def client(session: httpx.AsyncClient, until: float) -> None:
        for picture in itertools.cycle(pictures):
            if time.monotonic() > until:
                return
            await _ask(session, picture, outcome)

    async def all_of_them() -> None:
        async with _session(served) as session:
            until = time.monotonic() + seconds
            await asyncio.gather(*(client(session, until) for _ in range(CLIENTS)))

    begin = time.monotonic()
    asyncio.run(all_of_them())
    return outcome.statuses[200] / (time.monotonic() - begin)


def overload(
    served: Served, pictures: Sequence[Picture], rate: float, seconds: float
) -> dict[str, object]:
    """Send `rate` requests a second for so long; the outcome as JSON values."""
    outcome, rss, sent = Outcome(), [], 0

    async def send_all() -> None:
        nonlocal sent
        async with _session(served) as session:
            under_way: set[asyncio.Task[None]] = set()
            begin, seen = time.monotonic(), 0.0
            while (now := time.monotonic() - begin) < seconds:
                while sent < now * rate:
                    task = asyncio.create_task(
                        _ask(session, pictures[sent % len(pictures)], outcome)
                    )
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    sent += 1
                if now >= seen:
                    rss.append(served.rss_bytes)
                    seen += seconds / 200
                await asyncio.sleep(0.005)
            await asyncio.gather(*under_way)

    asyncio.run(send_all())
    start = round(WARM_UP * len(rss))
    middle = (start + len(rss)) // 2
    return {
        "seconds": seconds,
        "rate": rate,
        "sent": sent,
        "statuses": {str(status): count for status, count in sorted(outcome.statuses.items())},
        "lost": dict(outcome.lost),
        "differing": outcome.differing,
        "without_retry_after": outcome.without_retry_after,
        "answered_ms": _percentiles(outcome.answered_ms),
        "refused_ms": _percentiles(outcome.refused_ms),
        "rss_bytes": rss,
        "growth": max(rss[middle:]) / max(rss[start:middle]) - 1.0,
    }


def _percentiles(times_ms: Sequence[float]) -> dict[str, float]:
    if not times_ms:
        return {}
    return dict(zip(("p50", "p99"), np.percentile(times_ms, (50, 99)).tolist(), strict=True))


def _session(served: Served) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400, keepalive_expiry=2)
    return httpx.AsyncClient(base_url=served.url, limits=limits, timeout=120, trust_env=False)


async def _ask(session: httpx.AsyncClient, picture: Picture, outcome: Outcome) -> None:
    begin = time.monotonic()
    try:
        answer = await session.post("/predict", content=picture.data)
    except httpx.HTTPError as err:
        outcome.lost[type(err).__name__] += 1
        return
    outcome.add(answer, picture, 1000 * (time.monotonic() - begin))
