"""A sweep's YAML: which runs there are, and which tables show them.

    shapes: {images: 4000, val_images: 300, sizes_hw: [[192, 192]], kinds: [circle, star]}
    seeds: [0, 1, 2]
    budget: [solver.steps=2000]
    rows:
      baseline: {label: Mask R-CNN C4, recipe: mask_rcnn_nano}
      wide: {label: twice as wide, recipe: mask_rcnn_nano, overrides: [model.stem_channels=32]}
      four: {label: 4 scales, recipe: fastmask_nano, overrides: [model.streams=1], of: two_streams}
    tables:
      lsc_1: {title: LSC paper (Table I), metrics: [box_ap], rows: {baseline: [33.95], wide: []}}

`budget` are overrides of every row. A row is trained once for each seed, however many tables show
it. One with `of` is that other row's checkpoint with its own recipe: measured, not trained. A
table's rows have the paper's figures, one for each metric, or none.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml

from ...eval.coco.accuracy import GATED, KINDS, measured_name
from ...runtime.errors import ConfigError, InputError, first_line
from ...train.recipes.fastmask import FastMaskRecipe
from ...train.recipes.ranges import Count, Items, Range, SidePx
from ...train.recipes.recipe import YAML_ERRORS, Recipe, load_recipe
from ...train.recipes.values import build, shown, value_of
from ...train.shapes.outlines import CLASS_NAMES, OUTLINES
from .seeds import MOST_SEEDS

SHIPPED = Path(__file__).parent
MOST_BYTES = 1 << 18
SECTIONS = ("shapes", "seeds", "budget", "rows", "tables")
NAME = re.compile(r"[a-z0-9_]{1,60}")
"""Of rows and tables: folders have it."""

Seed = Annotated[int, Range(0)]


@dataclass(frozen=True)
class Shapes:
    """What `draw_shapes` draws where no data set is named."""

    images: Count
    val_images: Count
    seed: Seed = 0
    sizes_hw: tuple[tuple[SidePx, SidePx], ...] = ()
    kinds: Annotated[tuple[str, ...], Items(1)] = CLASS_NAMES

    def __post_init__(self) -> None:
        """Reject what cannot be drawn."""
        if unknown := [kind for kind in self.kinds if kind not in OUTLINES]:
            raise ConfigError(
                f"shapes.kinds has {shown(unknown[0])}; expected names out of "
                f"{', '.join(OUTLINES)}. Choose some."
            )


@dataclass(frozen=True)
class Row:
    """A recipe, and what it is trained for or taken from."""

    label: str
    """In the tables."""
    recipe: str
    """A shipped one's name, or a YAML file."""
    overrides: tuple[str, ...] = ()
    of: str = ""
    """The row whose checkpoint it is, in this row's form; "": it is trained."""

    def words(self, seed: int) -> tuple[str, ...]:
        """Recipe and overrides of one run."""
        return (self.recipe, *self.overrides, f"solver.seed={seed}")


@dataclass(frozen=True)
class TableHead:
    """A table but for its rows."""

    title: str
    metrics: Annotated[tuple[str, ...], Items(1)]
    """Names of `Accuracy.measured`; by the first one the paper's order is judged."""


@dataclass(frozen=True)
class Table:
    """Rows beside each other."""

    head: TableHead
    rows: dict[str, tuple[float, ...]]
    """Names of rows, with the paper's figures or ()."""


@dataclass(frozen=True)
class Plan:
    """A sweep."""

    where: str
    """The file."""
    shapes: Shapes | None
    seeds: tuple[int, ...]
    rows: dict[str, Row]
    tables: dict[str, Table]

    def runs(self) -> list[tuple[str, int]]:
        """Rows and seeds in the order in which they run: table by table, then seed by seed.

        A row is behind the one whose checkpoint it is.
        """
        found: dict[tuple[str, int], None] = {}
        for table in self.tables.values():
            for seed in self.seeds:
                for name in table.rows:
                    if source := self.rows[name].of:
                        found[source, seed] = None
                    found[name, seed] = None
        return list(found)


def load_plan(name_or_path: str | Path) -> Plan:
    """Read a shipped sweep by name, or any YAML file.

    Raises:
        ConfigError: broken YAML, an unknown key or row, a value of the wrong type, a recipe or an
            override that is not valid.
        InputError: no such file, or it cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = SHIPPED / f"{name_or_path}.yaml"
    where = str(name_or_path)
    raw = _raw(path, where)
    for key in raw:
        if key not in SECTIONS:
            raise ConfigError(f"{where}: unknown key {shown(key)}. Known: {', '.join(SECTIONS)}.")
    shapes = build(Shapes, raw["shapes"], where, "shapes.") if "shapes" in raw else None
    seeds = value_of(Annotated[tuple[Seed, ...], Items(1)], raw.get("seeds"), where, "seeds")
    budget = value_of(tuple[str, ...], raw.get("budget", []), where, "budget")
    rows = {
        name: _row(value, where, f"rows.{name}.", budget)
        for name, value in _named(raw, "rows", where).items()
    }
    tables = {
        name: _table(value, where, f"tables.{name}", rows)
        for name, value in _named(raw, "tables", where).items()
    }
    if len(seeds) > MOST_SEEDS or len(set(seeds)) < len(seeds):
        raise ConfigError(
            f"{where}: seeds={shown(list(seeds))}; expected at most {MOST_SEEDS}, none twice."
        )
    plan = Plan(where, shapes, seeds, rows, tables)
    recipes = _recipes(plan)
    for name, table in tables.items():
        _check_metrics(f"{where}: tables.{name}", table, recipes)
    return plan


def _raw(path: Path, where: str) -> dict[str, Any]:
    if not path.is_file():
        known = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
        raise InputError(
            f"{where}: no such sweep; expected a YAML file or one of {', '.join(known)}. Name one."
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{where}: more than {MOST_BYTES} bytes; expected a sweep's YAML.")
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InputError(f"{where}: could not be read ({err.strerror or err}).") from err
    except YAML_ERRORS as err:
        raise ConfigError(f"{where}: not valid YAML ({first_line(err)}).") from err
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: holds no mapping; expected keys like 'rows:' and 'tables:'.")
    return raw


def _named(raw: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """The section of that name, its own names those of folders."""
    section = raw.get(key)
    if not isinstance(section, dict) or not section:
        raise ConfigError(
            f"{where}: '{key}' is {shown(section)}; expected names with a section each."
        )
    for name in section:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise ConfigError(
                f"{where}: {key} has a name {shown(name)}; expected lower-case letters, digits and "
                "_, since a folder has it. Rename it."
            )
    return section


def _row(raw: Any, where: str, prefix: str, budget: tuple[str, ...]) -> Row:
    row: Row = build(Row, raw, where, prefix)
    return dataclasses.replace(row, overrides=(*budget, *row.overrides))


def _table(raw: Any, where: str, key: str, rows: dict[str, Row]) -> Table:
    if not isinstance(raw, dict) or not isinstance(raw.get("rows"), dict) or not raw["rows"]:
        raise ConfigError(f"{where}: '{key}' has no rows; expected names of rows under 'rows:'.")
    head = build(TableHead, {k: v for k, v in raw.items() if k != "rows"}, where, f"{key}.")
    figures = {}
    for name, value in raw["rows"].items():
        if name not in rows:
            near = difflib.get_close_matches(str(name)[:60], rows, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(rows)}."
            raise ConfigError(f"{where}: {key}.rows names {shown(name)}, which is no row. {hint}")
        figures[name] = value_of(tuple[float, ...], value, where, f"{key}.rows.{name}")
        if len(figures[name]) not in (0, len(head.metrics)):
            raise ConfigError(
                f"{where}: {key}.rows.{name}={shown(value)}; expected a figure for each of "
                f"{', '.join(head.metrics)}, or [] where the paper has none."
            )
    return Table(head, figures)


def _recipes(plan: Plan) -> dict[str, Recipe]:
    """Each row's, which are valid now, not after the hours of the rows before."""
    found = {}
    for name, row in plan.rows.items():
        if row.of and (row.of not in plan.rows or plan.rows[row.of].of):
            raise ConfigError(
                f"{plan.where}: rows.{name}.of={row.of}; expected the name of a row that is "
                "trained. Name one."
            )
        try:
            found[name] = load_recipe(row.recipe, row.overrides)
        except ConfigError as err:
            raise ConfigError(f"{plan.where}: rows.{name}: {err}") from err
    return found


def _check_metrics(where: str, table: Table, recipes: dict[str, Recipe]) -> None:
    """ConfigError for a metric that one of the table's rows is not measured by."""
    for row in table.rows:
        recipe = recipes[row]
        is_proposals = isinstance(recipe, FastMaskRecipe)
        has_masks = isinstance(recipe, FastMaskRecipe) or recipe.model.mask
        kinds = KINDS if has_masks else KINDS[:1]
        known = [measured_name(k, n) for n in GATED["AR" if is_proposals else "AP"] for k in kinds]
        if unknown := [metric for metric in table.head.metrics if metric not in known]:
            raise ConfigError(
                f"{where}.metrics: {shown(unknown[0])} is not measured of row {row}; expected some "
                f"of {', '.join(known)}. Choose some."
            )
