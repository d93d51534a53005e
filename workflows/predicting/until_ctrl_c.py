"""A camera has no end of its own: Ctrl-C is one, and what was written until then is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def until_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C of the block sets; a second one interrupts as ever.

    In other threads than the main one nothing sets it, for these get no signals.
    """
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = signal.getsignal(signal.SIGINT)

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)
