"""The papers' tables in the small."""

from __future__ import annotations

from ...workflows.sweep.tables import table_markdown
from .records import record


def paper_tables() -> str:
    """Every table of the sweep that has a finished run, with what is said of the paper's order."""
    parts = [
        f"### {table['title']}\n\n{table_markdown(table)}"
        for table in record("paper_tables_nano")["tables"].values()
        if any(row["runs"] for row in table["rows"])
    ]
    return "\n".join(parts) or "No run is finished yet.\n"
