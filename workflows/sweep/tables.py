"""A sweep's tables as Markdown, from the plain values of its record."""

from __future__ import annotations

from typing import Any

from .seeds import BySeed, mean_of, order_sentence


def table_markdown(table: dict[str, Any]) -> str:
    """One table, and the sentence on the paper's order under it.

    Args:
        table: one value of `record.tables_of`.
    """
    metrics = table["metrics"]
    titles = [spoken(name) for name in metrics]
    head = ["row", *titles, *(f"paper's {title}" for title in titles)]
    head += ["seeds", "parameters, M", "MACs, M"]
    lines = [head, ["---"] * len(head), *(_row(row, metrics) for row in table["rows"])]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{text}\n{judged(table)}\n"


def judged(table: dict[str, Any]) -> str:
    """Whether the paper's order by the first metric is that of the runs, in one sentence."""
    first = table["metrics"][0]
    rows = [
        (row["label"], row["paper"][0], _by_seed(row, first))
        for row in table["rows"]
        if row["paper"]
    ]
    if len(rows) < 2:
        return "The paper gives no order of these rows."
    return order_sentence(rows, spoken(first))


def spoken(metric: str) -> str:
    """`box_ap` as "box AP", `mask_ar_100` as "mask AR@100"."""
    kind, _, name = metric.partition("_")
    return f"{kind} {name.upper().replace('_', '@')}"


def _row(row: dict[str, Any], metrics: list[str]) -> list[str]:
    found = [_by_seed(row, metric) for metric in metrics]
    means = [str(mean_of(list(one.values()))) if one else "-" for one in found]
    paper = [f"{value:.1f}" for value in row["paper"]] or ["-"] * len(metrics)
    costs = [f"{row['parameters'] / 1e6:.2f}", f"{row['macs'] / 1e6:.0f}"]
    return [row["label"], *means, *paper, str(len(row["runs"])), *costs]


def _by_seed(row: dict[str, Any], metric: str) -> BySeed:
    return {run["seed"]: run["measured"][metric] for run in row["runs"]}
