"""What all routes share: models, settings, memory, threads, counters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from ...runtime.predictor import Predictor
from ..batching.served import ServedModel
from ..intake.budget import Budget
from ..refusals import RefusedError, gone
from ..settings import ServeSettings
from .metrics import Metrics

T = TypeVar("T")

MOST_THREADS = 4
"""That decode pictures and write answers, beside those of the models."""


@dataclass(frozen=True)
class Opened:
    """A model to be served."""

    predictor: Predictor
    at_once: int = 1
    """Batches that it runs at the same time: an engine's contexts."""


class Service:
    """The state behind the application; `start` and `stop` enclose its use, in the event loop."""

    def __init__(self, models: Mapping[str, Opened], settings: ServeSettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.budget = Budget(settings.memory_bytes)
        self.metrics.watch_held(self.budget)
        self.models = {name: self._served(name, opened) for name, opened in models.items()}
        self.ready = False
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="maskrt-web")

    def _served(self, name: str, opened: Opened) -> ServedModel:
        model = ServedModel(
            name,
            opened.predictor,
            self.settings,
            at_once=opened.at_once,
            on_batch=partial(self.metrics.ran, name),
        )
        self.metrics.watch(model)
        return model

    def warm_up(self) -> None:
        """Run each model once; errors as `Predictor.predict`."""
        for model in self.models.values():
            model.warm_up()

    async def start(self) -> None:
        """Begin to take requests."""
        for model in self.models.values():
            model.batcher.start()
        self.ready = True

    async def stop(self) -> None:
        """End the threads; no request is under way any more."""
        self.ready = False
        for model in self.models.values():
            await model.batcher.stop()
        self._pool.shutdown()

    def model(self, name: str | None) -> ServedModel:
        """The model of that name, or the first.

        Raises:
            RefusedError: 404, there is none.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            found, known = f"model '{name[:80]}'", ", ".join(self.models)
            raise RefusedError(404, f"{found}: not served; expected {known}. Choose one.")
        return self.models[name]

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """What `work` gives, called where it does not hold up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(work, *arguments))


async def unless_gone(request: Request, future: asyncio.Future[T]) -> T:
    """A queued job's answer; where the client goes away first, the job is taken out of the queue.

    To be called once the body was read: what comes then is the connection's end.

    Raises:
        RefusedError: 499, the client went away; else what the job raised.
    """
    leaving = asyncio.ensure_future(request.receive())
    both: set[asyncio.Future[Any]] = {future, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        left = not future.done()
        if left:
            future.cancel()
    if left:
        raise gone()
    return future.result()
