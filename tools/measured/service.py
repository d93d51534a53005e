"""Tables of `maskrt serve`: under load, under attack, beside `predict`."""

from __future__ import annotations

from .records import ratio_words, record, table


def service_load() -> str:
    """What became of requests at several times the capacity, and of memory."""
    load = record("serve_cpu")["overload"]
    statuses = load["statuses"]
    row = [
        f"{load['seconds']:.0f}",
        f"{load['capacity']:.1f}",
        f"{load['rate'] / load['capacity']:.0f}x",
        *(f"{statuses.get(status, 0):,}" for status in ("200", "503")),
        sum(load["lost"].values()),
        load["differing"],
        f"{load['growth']:+.1%}",
    ]
    titles = (
        "answered | refused with 503 | lost | answered otherwise than by predict | memory after"
    )
    return table(f"seconds | capacity, pictures/s | sent | {titles}", [row])


def service_hostile() -> str:
    """What hostile requests got."""
    hostile = record("serve_cpu")["hostile"]
    rows = (
        [kind, ", ".join(f"{status}: {count}" for status, count in statuses.items())]
        for kind, statuses in hostile["kinds"].items()
    )
    return table("ten requests each | answers", rows)


def service_added() -> str:
    """One picture and a full batch, as files, both ways."""
    rows = (
        [
            each["batch"],
            *(f"{each['summaries'][name]['p50_ms']:.0f}" for name in ("predict", "service")),
            ratio_words(each["service_over_predict"]),
            *(f"{each['cpu_ms'][name]:.0f}" for name in ("predict", "service")),
        ]
        for each in record("serve_cpu")["added"]
    )
    titles = "predict, ms | service, ms | service over predict | of the processor, ms | service, ms"
    return table(f"pictures | {titles}", rows)
