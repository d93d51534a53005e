"""What is closed when a `with` block ends: sessions, predictors, memory on a GPU, opened videos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_Opened = TypeVar("_Opened", bound="Closing")


class Closing(ABC):
    """A context manager whose end is `close()`."""

    @abstractmethod
    def close(self) -> None:
        """Release what it holds; a second call does nothing."""

    def __enter__(self: _Opened) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
