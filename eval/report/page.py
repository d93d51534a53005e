"""One run as three files: `report.html`, its tables as `report.md`, and `report.json`.

The page is for people, the JSON for programs. The page is one file that loads nothing: pictures are
data URIs, figures inline SVG, scripts its own. Every text goes through Jinja2's autoescape, because
class and file names come from users. The JSON holds the same values with all raw samples, so that
any figure can be made again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, pip_line
from ...runtime.files import atomic_path
from ..coco.accuracy import GATED, Accuracy, Metric
from ..parity.gates import Hop
from ..timing.latency import SCOPES, Bench
from .accuracy_tables import accuracy_tables, hop_tables
from .latency_tables import latency_tables, phase_table, spread_table
from .pictures import MATCHED_IOU, MATCHED_PROPOSALS, SHOWN_SCORE, Picture
from .plain import to_json
from .plots import latency_plot, phase_plot, precision_plot, recall_plot
from .precision_map import PrecisionMap, precision_table
from .rendering import rendered
from .table import Table, markdown

SCHEMA_VERSION = 2

_SCOPE_TITLES = {
    "engine": "Engine: device in, device out",
    "model": "Model: host bytes in, results on host",
    "pipeline": "Pipeline: decoded picture in, run-length masks out",
}
_PICTURE_NOTES: dict[Metric, str] = {
    "AP": (
        f"Predicted, score {SHOWN_SCORE} and more, beside the ground truth. One colour per class."
    ),
    "AR": (
        f"Of the best {MATCHED_PROPOSALS} proposals the one that covers each object best, with its "
        f"mask IoU, where that is at least {MATCHED_IOU}, beside the ground truth. One colour per "
        "object."
    ),
}


@dataclass(frozen=True)
class Figure:
    """A drawing of whatever the report is about."""

    title: str
    svg: str
    """Of our own making, names in it escaped by matplotlib: it goes onto the page as it is."""


@dataclass(frozen=True)
class Report:
    """Everything one run has to say; parts that were not measured stay empty."""

    title: str
    dataset: str
    """What was predicted, one sentence: name, split, number of pictures."""
    environment: dict[str, Any]
    """`environment()` of the measuring machine."""
    summary: tuple[str, ...] = ()
    """The few sentences to read first."""
    commands: tuple[str, ...] = ()
    """What to type to get this again."""
    accuracy: tuple[Accuracy, ...] = ()
    hops: tuple[Hop, ...] = ()
    latency: Bench | None = None
    precision: tuple[PrecisionMap, ...] = ()
    """Of the files whose graphs say it."""
    tables: tuple[Table, ...] = ()
    """Of whatever else was measured, after the others."""
    details: dict[str, Any] = field(default_factory=dict)
    """The values of these tables and figures for the JSON, raw samples included."""
    figures: tuple[Figure, ...] = ()
    """Of a training run; on the page only."""
    pictures: tuple[Picture, ...] = ()
    """On the page only; the JSON counts them."""
    created: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC")


def require_report() -> None:
    """Check before a long run that `write_report` will find what draws the page.

    Raises:
        InputError: Jinja2 or matplotlib, the extra `report`, is not installed.
    """
    absent = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if absent:
        raise InputError(
            f"report: {' and '.join(absent)} not installed; expected both for the page and its "
            f"figures. {pip_line('report')}"
        )


def write_report(report: Report, html_path: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, the same name with `.md` and `.json`; all or none.

    Returns:
        The paths of the page and of the JSON.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = {
        html_path.with_suffix(".json"): json.dumps(report_json(report), indent=1) + "\n",
        html_path.with_suffix(".md"): report_markdown(report),
        html_path: report_html(report),
    }
    with contextlib.ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
    return html_path, html_path.with_suffix(".json")


def report_tables(report: Report) -> list[Table]:
    """The tables of a report, in reading order, for the terminal or Markdown."""
    tables = [*accuracy_tables(report.accuracy), *hop_tables(report.hops)]
    if report.latency is not None:
        gpu = report.environment.get("gpus", "none") != "none"
        tables += latency_tables(report.latency, report.accuracy, gpu=gpu)
        tables.append(spread_table(report.latency))
        tables.append(phase_table(report.latency))
    if report.precision:
        tables.append(precision_table(report.precision))
    return [*tables, *report.tables]


def report_markdown(report: Report) -> str:
    """The sentences and tables of the page as GitHub Markdown."""
    head = [
        f"# {report.title}",
        f"{report.dataset} Measured {report.created}.",
        *report.summary,
    ]
    return "\n\n".join([*head, *map(markdown, report_tables(report))])


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values, raw samples included."""
    return {
        "schema_version": SCHEMA_VERSION,
        "title": report.title,
        "created": report.created,
        "dataset": report.dataset,
        "summary": list(report.summary),
        "commands": list(report.commands),
        "accuracy": to_json(report.accuracy),
        "hops": to_json(report.hops),
        "latency": to_json(report.latency),
        "precision": to_json(report.precision),
        "details": report.details,
        "environment": report.environment,
        "pictures": len(report.pictures),
    }


def report_html(report: Report) -> str:
    """The page as one string that refers to nothing outside itself."""
    return rendered(
        "report.html",
        title=report.title,
        report=report,
        failed=[hop for hop in report.hops if hop.failures],
        tables=report_tables(report),
        maps=_maps(report.precision),
        curves=_curves(report.accuracy),
        plots=_plots(report.latency),
        pictures=_pictures(report.pictures),
        environment=_environment_rows(report.environment),
    )


def _maps(maps: Sequence[PrecisionMap]) -> list[Figure]:
    return (
        [Figure("By module, in the order in which they run", precision_plot(maps))] if maps else []
    )


def _curves(accuracies: Sequence[Accuracy]) -> list[Figure]:
    """Recall over IoU for 10, 100 and 1000 proposals, where there are proposals."""
    shown = [accuracy for accuracy in accuracies if accuracy.recalls]
    names = GATED["AR"] if shown else ()
    return [
        Figure(f"Best {name.partition('@')[2]} proposals", recall_plot(shown, name))
        for name in names
    ]


def _pictures(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """The pictures of each network with the sentence that explains them, instances first."""
    networks = dict.fromkeys((picture.metric, picture.network) for picture in pictures)
    return [
        {
            "network": network,
            "note": _PICTURE_NOTES[metric],
            "pictures": [p for p in pictures if (p.metric, p.network) == (metric, network)],
        }
        for metric, network in sorted(networks, key=lambda key: [*_PICTURE_NOTES].index(key[0]))
    ]


def _plots(latency: Bench | None) -> list[Figure]:
    if latency is None:
        return []
    offered = [s for s in SCOPES if any(s in b.samples_ms for b in latency.backends)]
    figures = [Figure(_SCOPE_TITLES[scope], latency_plot(latency, scope)) for scope in offered]
    return [*figures, Figure("Where the pipeline's time goes", phase_plot(latency))]


def _environment_rows(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested values flattened to one line each."""
    rows = []
    for key, value in environment.items():
        if isinstance(value, dict):
            rows += [(f"{_spoken(key)}: {name}", str(inner)) for name, inner in value.items()]
        else:
            text = ", ".join(map(str, value)) if _is_list(value) else str(value)
            rows.append((_spoken(key), text))
    return rows


def _spoken(key: str) -> str:
    return key.replace("_", " ")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
