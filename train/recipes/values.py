"""Plain values of YAML to the types that recipes state, or a sentence that says why not."""

from __future__ import annotations

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from typing import Any, Literal

from ...runtime.errors import ConfigError


def build(cls: type[Any], raw: Any, where: str, prefix: str = "") -> Any:
    """A dataclass from a mapping, its sections and ranges (`ranges.py`) checked.

    Args:
        cls: a dataclass of types that `_converted` knows.
        raw: what YAML gave.
        where: the file, for the error.
        prefix: "section." of a section.

    Raises:
        ConfigError: an unknown key, which the nearest known one is offered for; a value of another
            type or out of its range; a key that lacks.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: '{prefix.rstrip('.')}' is {shown(raw)}; expected a section.")
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in raw:
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {_unknown(prefix, str(key), list(hints))}")
    values = {k: value_of(hints[k], v, where, f"{prefix}{k}") for k, v in raw.items()}
    try:
        return cls(**values)
    except TypeError as err:
        raise ConfigError(f"{where}: {prefix or 'the recipe '}lacks a key ({err}).") from err
    except ConfigError as err:
        raise ConfigError(f"{where}: {err}") from err


def shown(value: Any) -> str:
    """A value as an error quotes it: the beginning of a long or deep one."""
    return _QUOTED.repr(value)


_QUOTED = reprlib.Repr()
_QUOTED.maxstring = _QUOTED.maxother = _QUOTED.maxlong = 60


def _unknown(prefix: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key[:60], known, n=1)
    hint = f"Did you mean '{prefix}{near[0]}'?" if near else f"Known: {', '.join(known)}."
    return f"{shown(prefix + key)}. {hint}"


def value_of(hint: Any, value: Any, where: str, key: str) -> Any:
    """One value as the type that `hint` states; arguments and errors as `build`, `key` its name."""
    if dataclasses.is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, where, f"{key}.")
    other = ""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        several, one = typing.get_args(hint)
        if typing.get_origin(several) is not tuple:  # a number or a word
            is_word = value in typing.get_args(one)
            hint, other = (one, "") if is_word else (several, f", or {_spoken(one)}")
        elif isinstance(value, list):
            return value_of(several, value, where, key)
        else:
            hint, other = one, f", or a list as in {key}=a,b,c"
    checked = _converted(hint, value)
    if checked is None:
        raise ConfigError(f"{where}: {key}={shown(value)}; expected {_spoken(hint)}{other}.")
    return checked


def _converted(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, or None when it is not one."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        plain, bounds = typing.get_args(hint)
        converted = _converted(plain, value)
        return converted if converted is not None and converted in bounds else None
    if origin is Literal:
        same = [v for v in typing.get_args(hint) if type(v) is type(value) and v == value]
        return same[0] if same else None
    if origin is tuple:
        return _converted_items(typing.get_args(hint), value)
    return _number(value) if hint is float else _same_type(hint, value)


def _same_type(hint: type, value: Any) -> Any:
    """A whole number, true or false, or text on one line; true is no number."""
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, hint):
        return None
    return None if isinstance(value, str) and not (value and value.isprintable()) else value


def _converted_items(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...] | None:
    """A list as `tuple[item, ...]`, or as a tuple of exactly so many items."""
    if not isinstance(value, list) or (Ellipsis not in hints and len(value) != len(hints)):
        return None
    items = tuple(_converted(hints[0], v) for v in value)
    return None if None in items else items


def _number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 1e-4, which has no dot, as text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _spoken(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return f"{_spoken(arguments[0])} {arguments[1]}"
    if origin is Literal:
        return " or ".join(repr(v) for v in arguments)
    if origin is tuple:
        item, *others = arguments
        how_many = "of" if Ellipsis in others else f"of {1 + len(others)}, each"
        return f"a list {how_many} {_spoken(item)}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text")
