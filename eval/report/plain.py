"""Our results as plain JSON values: one function for every frozen dataclass of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_DECIMALS = 6  # of milliseconds: the clock counts nanoseconds


def to_json(value: Any) -> Any:
    """A result as `json.dumps` takes it, raw samples included.

    A dataclass becomes an object of its fields and of the properties that its `DERIVED` names,
    tuples become lists, arrays lists of numbers to six decimals.

    Raises:
        TypeError: something in it is none of these.
    """
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        names += getattr(value, "DERIVED", ())
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return np.round(value, _DECIMALS).tolist()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON value: {value!r}")
