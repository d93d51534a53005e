"""Writes the tables of the documentation from the records, so that no figure is typed by hand.

    python -m maskrt.tools.measured            write the tables again
    python -m maskrt.tools.measured --check    exit code 1 where page and records differ

A table stands in its page between `<!-- table: NAME -->` and `<!-- end -->`; NAME is one of
`TABLES`. The prose around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from . import accuracy, browser, papers, precision, roofline, service, speed, tiles
from .records import ROOT

PAGE = ROOT / "docs" / "measured.md"
FLOOR_PAGE = ROOT / "docs" / "how" / "floor.md"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        accuracy.tiny_ap,
        accuracy.four_networks,
        accuracy.fine_tuning,
        accuracy.demo_gates,
        speed.full_size,
        speed.floor,
        accuracy.openvino,
        precision.quantized,
        precision.quantized_engines,
        precision.searched,
        precision.int8_cpu_speed,
        precision.int8_cpu_accuracy,
        precision.searched_in_openvino,
        accuracy.variants,
        accuracy.fastmask_gates,
        papers.paper_tables,
        speed.fastmask_full_size,
        speed.operators,
        speed.operators_gpu,
        speed.rules,
        speed.nms,
        speed.pipeline,
        accuracy.bundles,
        accuracy.torchvision_same,
        speed.torchvision_speed,
        speed.training_step,
        browser.page_browser,
        tiles.large_pictures,
        speed.endurance,
        service.service_load,
        service.service_hostile,
        service.service_added,
        accuracy.runtimes,
    )
}
"""Those of docs/measured.md by name, in the order in which they are on the page."""
FLOOR_TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        roofline.floor_against_measured,
        roofline.floor_of_kernels,
        roofline.floor_of_networks,
        roofline.floor_by_precision,
        roofline.floor_by_operator,
        roofline.data_sheets,
    )
}
"""Those of docs/how/floor.md."""


def with_tables(page: str) -> str:
    """The page with every marked table made again."""
    tables = TABLES | FLOOR_TABLES
    return MARKED.sub(lambda found: found[1] + tables[found[2]]() + found[3], page)


def main(argv: list[str] | None = None) -> int:
    """Write the tables; with `--check` only compare. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.measured", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit code 1 where they differ")
    parser.add_argument("--page", type=Path, action="append", help="(default both pages)")
    arguments = parser.parse_args(argv)
    differ = [_differs(page, arguments.check) for page in arguments.page or (PAGE, FLOOR_PAGE)]
    return int(arguments.check and any(differ))


def _differs(page: Path, check: bool) -> bool:
    """Whether a page's tables are not the records'; written again unless only checked."""
    written = page.read_text(encoding="utf-8")
    made = with_tables(written)
    if made != written and check:
        print(f"{page}: tables differ from eval/records; run this without --check.")
    elif made != written:
        page.write_text(made, encoding="utf-8")
    return made != written
