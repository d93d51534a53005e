"""Memory that all requests together may hold; who would exceed it is refused, nobody waits."""

from __future__ import annotations

from types import TracebackType

from ..refusals import RefusedError


class Budget:
    """A number of bytes that leases are taken from; used by the event loop's thread alone."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0

    def lease(self) -> Lease:
        """What one request holds, nothing at first."""
        return Lease(self)


class Lease:
    """A request's part of a budget, given back when its block ends."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._budget.held_bytes -= self._bytes
        self._bytes = 0

    def resize(self, size_bytes: int) -> None:
        """Hold so many bytes from now on.

        Raises:
            RefusedError: 503, all requests together would hold more than there may be.
        """
        held = self._budget.held_bytes - self._bytes + size_bytes
        if size_bytes > self._bytes and held > self._budget.most_bytes:
            raise RefusedError(
                503,
                f"memory: requests under way hold {self._budget.held_bytes} bytes; expected at "
                f"most {self._budget.most_bytes} with this one. Try again later.",
                retry_s=1.0,
            )
        self._budget.held_bytes = held
        self._bytes = size_bytes
