"""A search as a page: what was tried by change and time, what was chosen, what stays high."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...eval import Table
    from ...export.search.certificate import Candidate, Certificate
    from .search import Searched


def write_page(done: Searched, path: Path) -> None:
    """Write the page, and beside it its Markdown and JSON.

    Raises:
        InputError: the folder cannot be written.
    """
    from ...eval import Report, environment, write_report
    from ...eval.report.page import Figure

    certificate = done.certificate
    figures = (Figure("What was tried", pareto_plot(certificate)),) if certificate.total_ms else ()
    report = Report(
        title=f"Precision of {certificate.model}",
        dataset=_dataset(certificate),
        environment=environment(),
        summary=tuple(told(certificate)),
        tables=tuple(_tables(certificate)),
        details={"precision_file": done.content.to_json()},
        figures=figures,
    )
    write_report(report, path)


def told(certificate: Certificate) -> list[str]:
    """The result in sentences."""
    shares = ", ".join(
        f"{share:.1%} {level.upper()}" for level, share in certificate.mac_shares.items()
    )
    lines = [f"Multiply-accumulates: {shares}; {len(certificate.kept)} groups stay higher."]
    if certificate.session is not None:
        lines.append(f"Candidates ran in {certificate.session}, in what it makes of their files.")
    if certificate.total_ms:
        others = ", ".join(
            f"{name} {ms:.3g} ms" for name, ms in certificate.total_ms.items() if name != "found"
        )
        lines.append(
            f"Predicted {certificate.total_ms['found']:.3g} ms ({others}): {certificate.times}."
        )
    for place, measured in enumerate(certificate.sets):
        role = "searched on" if place == 0 else "not searched on"
        changes = [
            f"{name} {measured.figures[name]:+.2f} [{low:+.2f}, {high:+.2f}]"
            for name, (low, high) in measured.intervals.items()
        ]
        what = ", ".join(changes) or _first(measured.figures)
        count = f"{measured.count} {measured.split} pictures" if measured.split else "its inputs"
        lines.append(f"{measured.data}, {count}, {role}: {what}.")
        lines += measured.undecided
    return lines


def pareto_plot(certificate: Certificate) -> str:
    """Change against predicted time of all that was measured; the chosen one is a star."""
    from ...eval.report.plots import HUES, INK, legend, new_figure, style, svg_text

    points = [candidate for candidate in certificate.tried if candidate.figures]
    figure, axes = new_figure(3.6)
    for passed, hue, label in ((False, HUES[1], "fails the gate"), (True, HUES[0], "holds it")):
        shown = [p for p in points if p.passed == passed]
        axes.scatter([_ms(p) for p in shown], [_change(p) for p in shown], color=hue, label=label)
    front = _front(points)
    axes.step([_ms(p) for p in front], [_change(p) for p in front], where="post", color=INK, lw=0.8)
    chosen = certificate.sets[0].figures
    value = next(iter(chosen.values()), 0.0)
    axes.scatter(
        [certificate.total_ms["found"]], [value], marker="*", s=220, color=HUES[0], label="chosen"
    )
    axes.axhline(certificate.gate, color=INK, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.set_ylabel(next(iter(chosen), certificate.metric), color=INK)
    axes.set_ylim(bottom=0)
    style(axes, f"ms: {certificate.times.partition(' (')[0]}", ("bottom", "left"))
    legend(axes, {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 3})
    return svg_text(figure, "search")


def _front(points: list[Candidate]) -> list[Candidate]:
    """Those that none beats in both time and change, the fastest first."""
    front: list[Candidate] = []
    for point in sorted(points, key=lambda p: (_ms(p), _change(p))):
        if not front or _change(point) < _change(front[-1]):
            front.append(point)
    return front


def _ms(candidate: Candidate) -> float:
    return candidate.ms or 0.0


def _change(candidate: Candidate) -> float:
    return next(iter(candidate.figures.values()))


def _dataset(certificate: Certificate) -> str:
    first = certificate.sets[0]
    if not first.split:
        return f"Judged by {first.data}, {first.count} calls."
    return f"{first.data}, {first.split} split, {first.count} pictures."


def _first(figures: dict[str, Any]) -> str:
    name, value = next(iter(figures.items()))
    return f"{name} {value:.4f}"


def _tables(certificate: Certificate) -> list[Table]:
    from ...eval import Table

    kept = tuple(
        (name, group.precision.upper(), f"{group.mac_share:.1%}", group.why)
        for name, group in certificate.kept.items()
    )
    tried = tuple(
        (
            ", ".join(f"{count} {level.upper()}" for level, count in candidate.groups.items()),
            "" if candidate.ms is None else f"{candidate.ms:.3f}",
            _first(candidate.figures) if candidate.figures else "not measurable",
            "holds the gate" if candidate.passed else "fails",
        )
        for candidate in certificate.tried
    )
    return [
        Table("Groups that stay higher", ("group", "in", "MACs", "why"), kept),
        Table("Measured on all pictures", ("groups", "ms", "figure", "gate"), tried),
    ]
