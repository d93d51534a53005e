"""Resources that one thread uses at a time, made as many as threads ever used at once."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..closing import Closing
from ..errors import SessionError

T = TypeVar("T", bound=Closing)


class Pool(Closing, Generic[T]):
    """Lends what is idle and makes what is not there.

    There is no lock, because `give` may run in a finalizer, hence in the middle of any line of the
    same thread: a `SimpleQueue` is made for that.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Make one at once, so that what cannot be had here is said now; errors as `make`."""
        self._make = make
        self._closed = False
        self._idle: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._idle.put(make())

    def take(self) -> T:
        """One that nobody uses; SessionError once the pool is closed."""
        if self._closed:
            raise SessionError(
                "pictures on the GPU: the predictor is closed; expected an open one. Open the "
                "engine again."
            )
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._make()

    def give(self, item: T) -> None:
        """Take one back; once the pool is closed it is closed too."""
        self._idle.put(item)
        if self._closed:
            self.close()

    @contextlib.contextmanager
    def lent(self) -> Iterator[T]:
        """One for the block; closed after an error, when work on it may still be under way."""
        item = self.take()
        try:
            yield item
        except BaseException:
            item.close()
            raise
        self.give(item)

    def close(self) -> None:
        """Close all that are idle; those in use when they come back."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
