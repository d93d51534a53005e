"""Data sets of a workflow: drawn ones, and pictures with ground truth to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import InputError

if TYPE_CHECKING:
    from ..eval import CocoData, DataSource
    from ..eval.checks.data_check import DataCheck
    from ..eval.checks.parts import Told
    from ..eval.checks.size_tables import Ruler
    from ..eval.datasets.source import Split

SHOWN = 24
"""Pictures on the page of `show_data`."""


def draw_data(out: str | Path, images: int = 2000, val_images: int = 200, seed: int = 0) -> Path:
    """Draw a COCO-format data set of textured shapes into folder `out`; returns the folder.

    Raises:
        InputError: a count is below 1, or the folder cannot be written.
    """
    from ..train.shapes.drawing import draw_shapes

    require_at_least_one(images=images, val_images=val_images)
    return draw_shapes(Path(out), images, val_images, seed)


def load_data(
    data: str | Path | DataSource, split: Split = "val", first: int | None = None
) -> CocoData:
    """Read a split of labelled pictures, or only the `first` ones of it.

    Args:
        data: a folder in a known layout, or a `DataSource`.
        split: `train`, `val` or `test`; where there is no val split, a share of the others is it.
        first: so many pictures, those of smallest id.

    Raises:
        InputError: the data is not usable, or `first` is below 1.
    """
    from ..eval import load_coco
    from ..eval.datasets.source import source_of

    if first is not None:
        require_at_least_one(first=first)
    return load_coco(source_of(data), split).first(first)


def check_data(
    data: str | Path | DataSource,
    recipe: str | Path = "mask_rcnn_r50_c4",
    *,
    fix: bool = False,
    on_progress: Told | None = None,
) -> DataCheck:
    """Find what is wrong with labelled pictures, each with file and id; decodes every picture.

    Args:
        data: a folder in a known layout, or a `DataSource`.
        recipe: whose anchors and slots its objects are held against.
        fix: write a clean copy of each JSON in which something is wrong, beside it.
        on_progress: told how much is done and of what.

    Raises:
        ConfigError: no such recipe.
        InputError: there is no such folder, or a copy cannot be written.
    """
    from ..eval.checks.data_check import check_data as check
    from ..eval.datasets.source import source_of

    ruler = _ruler(recipe)
    return check(source_of(data), ruler, fix=fix, tell=on_progress or (lambda done, text: None))


def _ruler(recipe: str | Path) -> Ruler:
    """Anchors and slots of a recipe; FastMask has no anchors."""
    from ..eval.checks.size_tables import Ruler
    from ..train.recipes.fastmask import FastMaskRecipe
    from ..train.recipes.recipe import load_recipe

    found = load_recipe(recipe)
    sides = found.input.short_side_px, found.input.long_side_px
    if isinstance(found, FastMaskRecipe):
        return Ruler(found.name, (), *sides, found.windows.per_image)
    return Ruler(found.name, found.model.anchor_sizes_px, *sides, found.detections.per_image)


def show_data(data: str | Path | DataSource, out: Path, split: Split = "train") -> int:
    """Draw `SHOWN` pictures of a split with their masks on one page; returns how many there are.

    They are at even distances through the split, so that nobody has chosen them.

    Args:
        data: a folder in a known layout, or a `DataSource`.
        out: `.html` to write.
        split: `train`, `val` or `test`.

    Raises:
        InputError: the data is not usable, Jinja2 is not installed or the page cannot be written.
    """
    import dataclasses

    from ..eval.datasets.source import source_of
    from ..eval.report.labelled import labelled_page
    from ..eval.report.page import require_report
    from ..runtime.files import write_text

    require_report()
    loaded = load_data(dataclasses.replace(source_of(data), lenient=True), split)
    page, count = labelled_page(loaded, SHOWN)
    write_text(out, page)
    return count


def require_at_least_one(**counts: int) -> None:
    """Refuse a count below 1, named as the command line spells it.

    Raises:
        InputError: there is such a count.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name.replace('_', '-')} {count}: expected at least 1.")
