"""JSON that may be cut, edited or made up, as the typed values that dataclasses declare.

`parse_json` gives plain values, `decoded` the value of a declared type: text, whole numbers, finite
numbers, tuples, dicts of text, None, Literal and dataclasses of these. Whatever does not fit is a
ValueError with one half sentence, "canvas_hw[0] is '1'; expected a whole number", which the readers
of each file make whole. Ranges are theirs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

MOST_LEVELS = 50
"""Our files have six; what reads them further recurses."""
MOST = 2**63
"""Whole numbers stay below it, as in every format they go to."""


def parse_json(text: str | bytes) -> Any:
    """The plain values of a JSON text.

    Raises:
        ValueError: not JSON or not UTF-8, nested more than MOST_LEVELS deep, with NaN or infinity,
            or with half of a surrogate pair, which no output could print.
    """
    try:
        value = json.loads(
            text.decode() if isinstance(text, bytes) else text, parse_constant=_refuse
        )
    except RecursionError as err:
        raise ValueError(_too_deep()) from err
    _check(value)
    return value


def decoded(kind: type[T], value: object, name: str = "") -> T:
    """`value` as the declared type `kind`.

    Args:
        kind: a type of those in the module's docstring; `Any` takes everything as it is.
        value: what `parse_json` gave.
        name: of the field, for errors; "" for the whole.

    Raises:
        ValueError: it is of another type, or a dataclass's field is missing or unknown.
    """
    result: T = _decoded(kind, value, name)
    return result


def schema_version(value: object) -> int:
    """The version that one of our files states of itself; ValueError where it states none."""
    fields = _of_type(value, dict, "", "an object")
    if "schema_version" not in fields:
        raise ValueError("no 'schema_version'")
    return decoded(int, fields["schema_version"], "schema_version")


def _decoded(kind: Any, value: object, name: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, name)
    if reader := _READERS.get(get_origin(kind)):
        return reader(get_args(kind), value, name)
    return _plain(kind, value, name)


def _dataclass(kind: Any, value: object, name: str) -> Any:
    given = _of_type(value, dict, name, "an object")
    kinds = get_type_hints(kind)
    required = {f.name for f in dataclasses.fields(kind) if _has_no_default(f)}
    if missing := sorted(required - given.keys()):
        raise ValueError(f"no '{_part(name, missing[0])}'")
    if unknown := sorted(given.keys() - kinds.keys()):
        raise ValueError(f"unknown '{_part(name, unknown[0]):.60}'")
    return kind(
        **{key: _decoded(kinds[key], item, _part(name, key)) for key, item in given.items()}
    )


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return (field.default, field.default_factory) == (dataclasses.MISSING, dataclasses.MISSING)


def _tuple(kinds: tuple[Any, ...], value: object, name: str) -> tuple[Any, ...]:
    items = _of_type(value, list, name, "a list")
    if kinds[1:] == (...,):
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        raise _wrong(name, value, f"{len(kinds)} values")
    pairs = enumerate(zip(kinds, items, strict=True))
    return tuple(_decoded(kind, item, f"{name}[{place}]") for place, (kind, item) in pairs)


def _optional(kinds: tuple[Any, ...], value: object, name: str) -> Any:
    (kind,) = set(kinds) - {NoneType}
    return None if value is None else _decoded(kind, value, name)


def _choice(choices: tuple[Any, ...], value: object, name: str) -> Any:
    if value not in choices:
        raise _wrong(name, value, " or ".join(map(json.dumps, choices)))
    return value


def _dict(kinds: tuple[Any, ...], value: object, name: str) -> dict[str, Any]:
    items = _of_type(value, dict, name, "an object").items()
    return {key: _decoded(kinds[1], item, _part(name, key)) for key, item in items}


_READERS = {UnionType: _optional, Union: _optional, Literal: _choice, tuple: _tuple, dict: _dict}


def _plain(kind: Any, value: object, name: str) -> Any:
    if kind is str:
        return _of_type(value, str, name, "text")
    if kind is bool:
        return _of_type(value, bool, name, "true or false")
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise _wrong(name, value, "a number" if kind is float else "a whole number")
    if kind is float and not abs(value) <= sys.float_info.max:
        raise _wrong(name, value, "a finite number")
    if kind is int and not abs(value) < MOST:
        raise _wrong(name, value, f"less than {MOST:.1e}")
    return kind(value)


def _of_type(value: object, kind: type[T], name: str, words: str) -> T:
    if not isinstance(value, kind):
        raise _wrong(name, value, words)
    return value


def _wrong(name: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{name or 'it'} is {_short(value)}; expected {expected}")


def _short(value: object) -> str:
    """As JSON writes it, 40 characters at most."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _part(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _check(value: object) -> None:
    """Depth and characters of all that is in `value`, without recursion."""
    level = [value]
    for _ in range(MOST_LEVELS):
        for text in level:
            if isinstance(text, str) and not text.isascii():
                text.encode()  # UnicodeEncodeError is a ValueError
        lists = [item for item in level if isinstance(item, list)]
        dicts = [item for item in level if isinstance(item, dict)]
        level = [part for item in lists for part in item]
        level += [part for item in dicts for pair in item.items() for part in pair]
        if not level:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"nested more than {MOST_LEVELS} levels deep"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
