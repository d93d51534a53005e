"""Recipes: read from YAML, changed by `key=value`, written back resolved.

A recipe in `recipes/*.yaml` mirrors its family's dataclass key for key (`mask_rcnn.py`,
`mask_rcnn_fpn.py`, `fastmask.py`); keys left out keep the defaults there. No includes, no
inheritance, no class paths. Unknown keys are errors that offer the nearest known name.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...runtime.errors import ConfigError, first_line
from .fastmask import FastMaskRecipe, leave_second_stream
from .mask_rcnn import MaskRCNNRecipe
from .mask_rcnn_fpn import MaskRCNNFPNRecipe
from .sections import LATER
from .values import build, shown

Recipe = MaskRCNNRecipe | MaskRCNNFPNRecipe | FastMaskRecipe

MOST_BYTES = 1 << 18
"""Of a recipe: some ten thousand class names. YAML is read at about 100 kB a second."""
YAML_ERRORS = (
    *(yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError),
    RecursionError,
)
"""What its reader raises: faults of its own kind, and any of the others from what a tag asks for,
as in `!!timestamp 2001`, or from thousands of brackets."""

FAMILIES: dict[str, type[Recipe]] = {
    "mask_rcnn": MaskRCNNRecipe,
    "mask_rcnn_fpn": MaskRCNNFPNRecipe,
    "fastmask": FastMaskRecipe,
}
RECIPES = Path(__file__).parent


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or any YAML file, and apply `key=value` overrides.

    Raises:
        ConfigError: no such recipe, broken YAML, unknown key, a value of the wrong type or out of
            its range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.yaml"))
        near = difflib.get_close_matches(str(name_or_path), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise ConfigError(f"{name_or_path}: no such recipe or YAML file. {hint}")
    return parse_recipe(_text(path), str(path), overrides)


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a YAML text states; errors name `where` and are `load_recipe`'s."""
    try:
        raw = yaml.safe_load(text)
    except YAML_ERRORS as err:
        raise ConfigError(f"{where}: not valid YAML ({first_line(err)}).") from err
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: holds no mapping; expected a recipe with keys like 'model:'.")
    for override in overrides:
        _override(raw, override)
    leave_second_stream(raw, [override.partition("=")[0] for override in overrides])
    family = raw.get("family", "mask_rcnn")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ConfigError(
            f"{where}: family={shown(family)}; expected one of {', '.join(FAMILIES)}. Choose one."
        )
    recipe: Recipe = build(FAMILIES[family], raw, where)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, class names included, every key but unset `LATER` ones."""
    plain = _written(recipe)
    if not isinstance(recipe, FastMaskRecipe):  # its proposals have no class
        plain["classes"] = list(recipe.class_names)
    return yaml.safe_dump(plain, sort_keys=False)


def with_solver(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other values of its solver's keys."""
    solver: Any = dataclasses.replace(recipe.solver, **changes)
    return dataclasses.replace(recipe, solver=solver)


def differences(before: Recipe, after: Recipe) -> list[tuple[str, Any, Any]]:
    """Keys whose resolved values differ, each with both values; None where a recipe lacks it."""
    one, other = (_flat(yaml.safe_load(dump_recipe(r))) for r in (before, after))
    return [
        (key, one.get(key), other.get(key))
        for key in {**one, **other}
        if one.get(key) != other.get(key)
    ]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise ConfigError(
                f"{path}: {len(data)} bytes; expected a recipe of at most {MOST_BYTES}. "
                "Name a YAML file that holds one."
            )
        return data.decode()
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path}: not valid YAML ({first_line(err)}).") from err
    except OSError as err:
        raise ConfigError(f"{path}: could not be read ({err.strerror or err}).") from err


def _flat(raw: dict[str, Any]) -> dict[str, Any]:
    """Sections as "section.key"."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": v for inner, v in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def _override(raw: dict[str, Any], text: str) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"'{text}': not an override; expected key=value like solver.lr=0.01.")
    *parents, leaf = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{text}': '{parent}' is a value, not a section.")
    if _names_classes(leaf, value):
        raw[leaf] = [name.strip() for name in value.strip(",").split(",")]
        return
    try:
        raw[leaf] = yaml.safe_load(value)
    except YAML_ERRORS as err:
        raise ConfigError(f"'{text}': the value is not valid YAML ({first_line(err)}).") from err


def _written(section: Any) -> dict[str, Any]:
    values = {f.name: (f, getattr(section, f.name)) for f in dataclasses.fields(section)}
    return {
        name: _written(value) if dataclasses.is_dataclass(value) else _plain(value)
        for name, (known, value) in values.items()
        if known.metadata != LATER or value != known.default
    }


def _names_classes(key: str, value: str) -> bool:
    """Whether an override's value is class names with commas, which no shell wants quoted."""
    return key == "classes" and "," in value and not value.lstrip().startswith("[")


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
