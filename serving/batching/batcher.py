"""One model's queue: bounded, in order, run in batches as full as a short wait makes them.

    submit --> waiting jobs --> a batch of one kind --> a thread --> each job's future

Its state belongs to the event loop's thread, so it needs no lock; only `Kind.run` is called in
threads of its own. A job that was taken into a batch is always finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..refusals import RefusedError

Payload = Any
Answer = Any
OnBatch = Callable[["Kind", int, float], None]
"""Told of each batch its kind, how many rows it had and the seconds it ran."""
NEWEST = 0.2
"""Weight of the newest batch in the mean of seconds a batch takes."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Jobs that can be run together."""

    name: str
    most: int
    """Rows in a batch, 1 or more."""
    run: Callable[[Sequence[Payload]], Sequence[Answer]]
    """Payloads to answers in their order; called in a thread. Its errors reach who submitted."""


@dataclass(eq=False)
class Job:
    """What waits: a payload of so many rows of a batch."""

    kind: Kind
    payload: Payload
    rows: int
    arrived: float
    """Seconds of the monotonic clock."""
    future: asyncio.Future[Answer]


class Batcher:
    """The queue of one model and what empties it; `start` and `stop` enclose its use."""

    def __init__(
        self,
        name: str,
        *,
        queue: int,
        wait_s: float,
        queue_s: float,
        at_once: int = 1,
        on_batch: OnBatch | None = None,
    ) -> None:
        """Make it.

        Args:
            name: of the model, for sentences.
            queue: rows that may wait.
            wait_s: how long the first job of a batch waits for others, in seconds.
            queue_s: the longest that a job may wait, in seconds.
            at_once: batches under way at the same time.
            on_batch: called after each, in the event loop's thread.
        """
        self._name, self._queue = name, queue
        self._wait_s, self._queue_s, self._at_once = wait_s, queue_s, at_once
        self._on_batch = on_batch
        self._waiting: deque[Job] = deque()
        self._changed = asyncio.Event()
        self._free = asyncio.Semaphore(at_once)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="maskrt-serve")
        self._batch_s = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._dispatcher: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return sum(job.rows for job in self._waiting)

    def start(self) -> None:
        """Begin to run what is submitted."""
        self._dispatcher = asyncio.get_running_loop().create_task(self._dispatch())

    async def stop(self) -> None:
        """Finish the batches under way; nobody may be waiting any more."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dispatcher
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._pool.shutdown()

    def check_room(self, kind: Kind, rows: int = 1) -> None:
        """Refuse what would be refused by `submit`, before it costs anything.

        Raises:
            RefusedError: 503, as many rows wait as may, or it would wait too long.
        """
        wait_s = self._estimated_wait_s(kind, rows)
        full = self.waiting + rows > self._queue
        if full or wait_s > self._queue_s:
            found = f"{self.waiting} pictures wait, about {wait_s:.1f} s"
            expected = f"at most {self._queue} and {self._queue_s:g} s"
            raise RefusedError(
                503, f"{self._name}: {found}; expected {expected}. Try again later.", wait_s
            )

    def submit(self, kind: Kind, payload: Payload, rows: int = 1) -> asyncio.Future[Answer]:
        """Put a job at the end of the queue; cancelling its future takes it out again.

        Raises:
            RefusedError: as `check_room`; from the future: 503, it waited too long.
        """
        self.check_room(kind, rows)
        loop = asyncio.get_running_loop()
        job = Job(kind, payload, rows, time.monotonic(), loop.create_future())
        self._waiting.append(job)
        timer = loop.call_later(self._queue_s, self._refuse_late, job)
        job.future.add_done_callback(lambda _: self._forget(job, timer))
        self._changed.set()
        return job.future

    def _forget(self, job: Job, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)

    def _refuse_late(self, job: Job) -> None:
        if job in self._waiting:
            sentence = f"{self._name}: waited {self._queue_s:g} s for its turn. Try again later."
            job.future.set_exception(RefusedError(503, sentence, self._batch_s))

    def _estimated_wait_s(self, kind: Kind, rows: int) -> float:
        batches = -(-(self.waiting + rows) // kind.most) - 1 + len(self._under_way)
        return max(0, batches) * self._batch_s / self._at_once

    async def _dispatch(self) -> None:
        while True:
            await self._free.acquire()
            jobs: list[Job] = []
            while not jobs:
                await self._filled()
                jobs = self._take()
            task = asyncio.get_running_loop().create_task(self._run(jobs))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._free.release()

    async def _filled(self) -> None:
        """Wait until there is a full batch, or one whose first job has waited long enough."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        until = self._waiting[0].arrived + self._wait_s
        while self._waiting and not self._head_is_full():
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _head_is_full(self) -> bool:
        kind = self._waiting[0].kind
        return sum(job.rows for job in self._waiting if job.kind is kind) >= kind.most

    def _take(self) -> list[Job]:
        """The next batch: the first job and those of its kind after it that fit."""
        if not self._waiting:
            return []
        kind, rows = self._waiting[0].kind, 0
        taken: list[Job] = []
        for job in self._waiting:
            if job.kind is kind and rows + job.rows <= kind.most:
                taken.append(job)
                rows += job.rows
        for job in taken:
            self._waiting.remove(job)
        return taken

    async def _run(self, jobs: Sequence[Job]) -> None:
        kind, start = jobs[0].kind, time.monotonic()
        payloads = [job.payload for job in jobs]
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._pool, run_apart, kind, payloads)
        seconds = time.monotonic() - start
        self._batch_s += (seconds - self._batch_s) * (NEWEST if self._batch_s else 1.0)
        if self._on_batch is not None:
            self._on_batch(kind, sum(job.rows for job in jobs), seconds)
        for job, answer in zip(jobs, answers, strict=True):
            if job.future.done():  # its client has gone meanwhile
                continue
            if isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)


def run_apart(kind: Kind, payloads: Sequence[Payload]) -> Sequence[Answer]:
    """Run payloads together; where that fails each alone, so that one costs no other its answer.

    Returns:
        An answer or an Exception for each.
    """
    try:
        return kind.run(payloads)
    except Exception as err:
        if len(payloads) == 1:
            return [err]
    return [run_apart(kind, [payload])[0] for payload in payloads]
