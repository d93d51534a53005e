"""Recipes: read from YAML, changed by `key=value`, written back resolved.

A recipe in `recipes/*.yaml` mirrors its family's dataclass key for key (`mask_rcnn.py`,
`fastmask.py`); keys left out keep the defaults there. No includes, no inheritance, no class
paths. Unknown keys are errors that offer the nearest known name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ...runtime.errors import ConfigError, first_line
from .fastmask import FastMaskRecipe
from .mask_rcnn import MaskRCNNRecipe

Recipe = MaskRCNNRecipe | FastMaskRecipe

FAMILIES: dict[str, type[Recipe]] = {"mask_rcnn": MaskRCNNRecipe, "fastmask": FastMaskRecipe}
RECIPES = Path(__file__).parent


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or any YAML file, and apply `key=value` overrides.

    Raises:
        ConfigError: no such recipe, broken YAML, unknown key or a value of the wrong type.
    """
    import yaml

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.yaml"))
        near = difflib.get_close_matches(str(name_or_path), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise ConfigError(f"{name_or_path}: no such recipe or YAML file. {hint}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not valid YAML ({first_line(err)}).") from err
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no mapping; expected a recipe with keys like 'model:'.")
    for text in overrides:
        _override(raw, text)
    family = raw.get("family", "mask_rcnn")
    if family not in FAMILIES:
        raise ConfigError(f"{path}: family={family!r}; expected {' or '.join(FAMILIES)}.")
    recipe: Recipe = _build(FAMILIES[family], raw, str(path), "")
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key written out, class names included."""
    import yaml

    plain = _plain(dataclasses.asdict(recipe))
    if isinstance(recipe, MaskRCNNRecipe):
        plain["classes"] = list(recipe.class_names)
    return yaml.safe_dump(plain, sort_keys=False)


def _override(raw: dict[str, Any], text: str) -> None:
    import yaml

    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"'{text}': not an override; expected key=value like solver.lr=0.01.")
    *parents, leaf = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{text}': '{parent}' is a value, not a section.")
    try:
        raw[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise ConfigError(f"'{text}': the value is not valid YAML ({first_line(err)}).") from err


def _build(cls: type[Any], raw: Any, where: str, prefix: str) -> Any:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: '{prefix.rstrip('.')}' is {raw!r}; expected a section.")
    hints = typing.get_type_hints(cls)
    for key in raw:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"Did you mean '{prefix}{near[0]}'?" if near else f"Known: {', '.join(hints)}."
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'. {hint}")
    values = {k: _value(hints[k], v, where, f"{prefix}{k}") for k, v in raw.items()}
    try:
        return cls(**values)
    except TypeError as err:
        raise ConfigError(f"{where}: {prefix or 'the recipe '}lacks a key ({err}).") from err


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, where, f"{key}.")
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        chosen = options[0] if isinstance(value, list) else options[1]
        return _value(chosen, value, where, key)
    checked = _converted(hint, value)
    if checked is None:
        raise ConfigError(f"{where}: {key}={value!r}; expected {_spoken(hint)}.")
    return checked


def _converted(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, or None when it is not one."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value if value in typing.get_args(hint) else None
    if origin is tuple:
        return _converted_items(typing.get_args(hint), value)
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else None
    if hint is float:
        return _number(value)
    return value if isinstance(value, hint) else None


def _converted_items(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...] | None:
    """A list as `tuple[item, ...]`, or as a tuple of exactly so many items."""
    if not isinstance(value, list) or (Ellipsis not in hints and len(value) != len(hints)):
        return None
    items = tuple(_converted(hints[0], v) for v in value)
    return None if None in items else items


def _number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 1e-4, which has no dot, as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _spoken(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(repr(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        item, *others = typing.get_args(hint)
        how_many = "of" if Ellipsis in others else f"of {1 + len(others)}, each"
        return f"a list {how_many} {_spoken(item)}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
