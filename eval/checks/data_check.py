"""A labelled folder checked to its end: every problem with file and id, and what the data holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ...runtime.errors import InputError
from ..datasets.finding import find_layout
from ..datasets.source import DataSource
from ..report.table import Table
from .across import check_across
from .clean_copy import write_clean_copy
from .parts import ReadPart, Told, read_part
from .problems import Collected, Problem, Severity
from .size_tables import Ruler, check_slots, tables_of

_ORDER: tuple[Severity, ...] = ("error", "metric", "note")


@dataclass(frozen=True)
class DataCheck:
    """What a check found."""

    layout: str
    """Name of the layout; "" where none was found."""
    problems: tuple[Problem, ...]
    """Those that end a run first, by kind."""
    tables: tuple[Table, ...]
    """Classes, sizes and counts of what could be read."""
    written: tuple[Path, ...]
    """Clean copies."""

    def fails(self, *, lenient: bool) -> bool:
        """Whether a run would be refused, or its metrics be other than they seem."""
        ends = ("error",) if lenient else ("error", "metric")
        return any(problem.severity in ends for problem in self.problems)

    @property
    def counts(self) -> dict[str, int]:
        """Problems of each kind, in their order."""
        return dict(Counter(problem.kind for problem in self.problems))


def check_data(source: DataSource, ruler: Ruler, *, fix: bool, tell: Told) -> DataCheck:
    """Check every part of a data set; nothing that is wrong with it is raised.

    Args:
        source: where it is.
        ruler: the network that it is for.
        fix: write a clean copy of each part in which something is wrong.
        tell: told how far it is.

    Raises:
        InputError: there is no such folder, or a copy cannot be written.
    """
    found = Collected()
    try:
        layout = find_layout(source)
    except InputError as err:
        if not source.folder.is_dir():
            raise
        found.refuse(err)
        return DataCheck("", tuple(found.problems), (), ())
    parts: list[ReadPart] = []
    written: list[Path] = []
    for name, part in layout.parts.items():
        before = len(found.problems)
        read = read_part(str(name), part, found, tell)
        if read is None:
            continue
        parts.append(read)
        check_slots(read, ruler, found)
        if fix and len(found.problems) > before:
            written.append(write_clean_copy(read))
    check_across(parts, found)
    tables = tables_of(parts, ruler) if parts else []
    return DataCheck(layout.name, _ordered(found.problems), tuple(tables), tuple(written))


def _ordered(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    kinds = [*dict.fromkeys(problem.kind for problem in problems)]
    return tuple(
        sorted(problems, key=lambda one: (_ORDER.index(one.severity), kinds.index(one.kind)))
    )


def problems_table(check: DataCheck) -> Table:
    """Kinds with their number and the first of each."""
    rows = []
    for (kind, severity), several in groupby(check.problems, lambda one: (one.kind, one.severity)):
        all_of = [*several]
        first = all_of[0].item or all_of[0].file.name
        rows.append((kind, severity, str(len(all_of)), first))
    note = (
        "error: cannot be read. metric: changes a metric in silence; --lenient goes on. note: is "
        "read, or left out with a word."
    )
    return Table("Problems", ("what", "severity", "number", "first"), tuple(rows), (note,))
