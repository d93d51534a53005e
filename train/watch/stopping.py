"""Ctrl-C and SIGTERM while a run is on: they wait until its step is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WholeSteps:
    """Steps that no signal cuts in two."""

    def __init__(self) -> None:
        self.whole = True
        """False in the middle of a step, and after one that failed."""

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """While the block lasts signals are kept; the first of them is delivered at its end."""
        with _kept_signals():
            self.whole = False
            yield
            self.whole = True


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    kept: list[int] = []

    def keep(number: int, _: FrameType | None) -> None:
        kept.append(number)

    before = {number: signal.signal(number, keep) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if kept:
            signal.raise_signal(kept[0])
