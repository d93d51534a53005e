"""What verbs print: result tables on standard output, a progress bar on standard error."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..eval import Table


def print_tables(tables: Iterable[Table]) -> None:
    """Each as wide as the terminal lets it be."""
    from rich.console import Console

    from ..eval import print_table

    console = Console()
    for table in tables:
        print_table(table, console)


def say(line: str) -> None:
    """What is being done now, for people who wait."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def plain_warnings(where: str) -> Iterator[None]:
    """While the block lasts a warning of ours is a sentence, without the code it came from."""
    import warnings

    from ..runtime.errors import MaskRTWarning

    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, MaskRTWarning):
            say(f"{where}: {message}")
        else:
            shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


@contextlib.contextmanager
def said_once() -> Iterator[None]:
    """While the block lasts a logged sentence is shown once: one file may hold both splits."""
    import logging

    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(seen)
        seen.add(record.getMessage())
        return len(seen) > before

    handler = logging.lastResort  # what shows them where nobody has set up logging
    if handler is None:
        yield
        return
    handler.addFilter(is_new)
    try:
        yield
    finally:
        handler.removeFilter(is_new)


@contextlib.contextmanager
def progress_bar(things: str = "") -> Iterator[Callable[[float, str], None]]:
    """A bar while the block lasts, told how much is done (0 to 1) and what is being done.

    It shows the time that has gone and is left, and, where what is done is told one by one, how
    many `things` are done a second. Hidden where standard error is no terminal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    rate = TextColumn("{task.fields[rate]}")
    text = TextColumn("{task.description}", markup=False)
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal
    began, count = time.monotonic(), itertools.count(1)
    with Progress(
        BarColumn(), *times, rate, text, console=console, transient=True, disable=hidden
    ) as progress:
        task = progress.add_task("", total=1.0, rate="")

        def tell(done: float, text: str) -> None:
            a_second = next(count) / max(time.monotonic() - began, 1e-3)
            shown = f"{a_second:.1f} {things}/s" if things else ""
            progress.update(task, completed=done, description=text, rate=shown)

        yield tell
