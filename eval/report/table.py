"""A result table as plain text cells, and its two plain renderings: terminal and Markdown.

The cells are made once, where the values are; the HTML report renders the same `Table`, so the
three never disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console

NOT_AVAILABLE = "n/a"
_STYLES = {"FAILED": "bold red", "passed": "green"}
"""Of words in a cell."""
_WIDER_THAN_ANY = 10_000


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text cells and the sentences under the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 2
    """The first so many columns say what a row is about; the rest are its values."""


def print_table(table: Table, console: Console) -> None:
    """Print a table with its notes on a rich console.

    Where a line would not fit, what the rows are about stands on a line above their values, so
    names stay whole on 80 columns; a row about the same thing as the one above does not repeat it.
    """
    from rich.measure import Measurement
    from rich.text import Text

    console.print(Text(table.title, style="bold"))
    grid = _grid(table.columns, list(_without_repeats(table)), table.keys)
    unbounded = console.options.update(max_width=_WIDER_THAN_ANY)
    if Measurement.get(console, unbounded, grid).maximum <= console.width:
        console.print(grid)
    else:
        _print_stacked(table, console)
    for note in table.notes:
        console.print(Text(note, style="bold red" if note.startswith("FAILED") else "dim"))
    console.print()


def _without_repeats(table: Table) -> Iterator[tuple[str, ...]]:
    above: tuple[str, ...] = ()
    for row in table.rows:
        keys = row[: table.keys]
        yield ("",) * table.keys + row[table.keys :] if keys == above else row
        above = keys


def _print_stacked(table: Table, console: Console) -> None:
    """Each group of rows under its name, values of all groups in the same columns."""
    from rich.text import Text

    columns = table.columns[table.keys :]
    cells = [columns, *(row[table.keys :] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    console.print(_grid(columns, [], 0, widths))
    for names, rows in groupby(table.rows, key=lambda row: row[: table.keys]):
        console.print(Text("  ".join(names)), soft_wrap=True)
        values = [row[table.keys :] for row in rows]
        console.print(_grid(columns, values, 0, widths, show_header=False))


def _grid(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    keys: int,
    widths: Sequence[int] | None = None,
    *,
    show_header: bool = True,
) -> rich.table.Table:
    """Cells without lines between them, values to the right; cells that do not fit are folded."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(
        box=None,
        padding=(0, 0, 0, 2),
        pad_edge=not keys,
        show_header=show_header,
        header_style="cyan",
    )
    for place, name in enumerate(columns):
        grid.add_column(
            Text(name),
            justify="left" if place < keys else "right",
            overflow="fold",
            min_width=widths[place] if widths else None,
        )
    for row in rows:
        cells = [Text(cell) for cell in row]
        for cell in cells:
            for word, style in _STYLES.items():
                cell.highlight_words([word], style)
        grid.add_row(*cells)
    return grid


def markdown(table: Table) -> str:
    """The table as GitHub Markdown, cells escaped, notes as paragraphs below."""
    lines = [
        f"### {table.title}",
        "",
        _markdown_row(table.columns),
        _markdown_row(["---"] * len(table.columns)),
        *(_markdown_row(row) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
