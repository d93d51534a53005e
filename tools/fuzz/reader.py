"""What is fuzzed: how a small whole input is written, read, and changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Reader:
    """What is fuzzed."""

    write: Callable[[Path], Path]
    """Writes a whole input into an empty folder; returns the file that is to be changed."""
    read: Callable[[Path], object]
    """Everything maskrt does with the folder; it ends, or raises a MaskRTError."""
    mutate: Callable[[bytes, Random], bytes]
    """Changes the bytes of that file."""
