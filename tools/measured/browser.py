"""The table of what the page finds in a browser."""

from __future__ import annotations

from .records import record, table


def page_browser() -> str:
    """Each network in the page, held against `predict` instance by instance."""
    rows = (
        [
            network,
            found["instances"],
            f"{found['share_alike']:.2%}",
            f"{found['equal_masks'] / found['instances']:.2%}",
            found["extra"],
            f"{found['largest_score_difference']:.1e}",
        ]
        for network, found in record("page_browser")["models"].items()
    )
    titles = "network | instances | the same | mask equal to the pixel | in the page alone"
    return table(f"{titles} | score, largest difference", rows)
