"""The table of a large picture, whole and in tiles."""

from __future__ import annotations

from .records import record, table


def large_pictures() -> str:
    """What is found, and the peak of a process of its own."""
    found = record("tiles_cpu")
    rows = [
        _row(found["picture_hw"], "whole", found["whole"]),
        _row(found["picture_hw"], f"tiles of {found['tile_px']} px", found["tiles"]),
        _row(found["large_hw"], f"tiles of {found['large_tile_px']} px", found["large_tiles"]),
    ]
    return table("picture | looked at | mask AP | score 0.5 or more | picture | peak memory", rows)


def _row(picture_hw: list[int], how: str, found: dict[str, float]) -> list[str]:
    height, width = picture_hw
    return [
        f"{width} x {height}",
        how,
        f"{found['mask_ap']:.1f}" if "mask_ap" in found else "",
        f"{found['above_half']:,}",
        *(f"{found[name] / 1e6:,.0f} MB" for name in ("picture_bytes", "peak_bytes")),
    ]
