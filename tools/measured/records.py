"""The records of `eval/records`, and how their values are written in a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "eval" / "records"
Rows = Iterable[Iterable[object]]


def record(name: str) -> Any:
    """One record of `eval/records`, by its name without `.json`."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: str, rows: Rows) -> str:
    """A Markdown table; `head` is its titles, separated by `|`."""
    titles = [title.strip() for title in head.split("|")]
    lines = [titles, ["---"] * len(titles), *(list(map(str, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def median_words(row: Any) -> str:
    """`median (low-high)` of a bench row's model scope, in milliseconds."""
    found = row["summaries"]["model"]
    return f"{found['p50_ms']:.0f} ({found['p50_low_ms']:.0f}-{found['p50_high_ms']:.0f})"


def model_samples(row: Any) -> Any:
    """(T, n) milliseconds of a bench row's model scope, in turns."""
    return np.array(row["samples_ms"]["model"])


def ratio_words(speedup: dict[str, float] | None) -> str:
    """As "1.50x (1.39-1.64)"; 1 of what it is compared with."""
    if speedup is None:
        return "1"
    return f"{speedup['value']:.2f}x ({speedup['low']:.2f}-{speedup['high']:.2f})"


def changes(points: dict[str, float]) -> str:
    """As "AP -0.41", or "AR@10 +0.27, AR@100 +0.02"; of equal neighbours the first."""
    shown = {name: value for name, value in points.items() if name != "AR@1000"}
    return ", ".join(f"{name} {round(value, 2) + 0.0:+.2f}" for name, value in shown.items())
