"""The papers' tables in the small."""

from __future__ import annotations

from ...workflows.sweep.tables import table_markdown
from .records import record


def nano_tables() -> str:
    """Every table of the sweep, each with what its seeds say of the paper's order."""
    parts = (
        f"### {table['title']}\n\n{table_markdown(table)}"
        for table in record("paper_tables_nano")["tables"].values()
    )
    return "\n".join(parts)
