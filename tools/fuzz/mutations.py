"""Seeded changes of a good input that a reader must refuse in a sentence or take as it is.

    mutated_json(data, rng)    the JSON of `data` with values replaced, lost, doubled, moved, nested
    mutated_bytes(data, rng)   bytes flipped, cut, doubled, inserted, and numbers in text replaced

The same bytes and the same state of `rng` give the same result on every machine.
"""

from __future__ import annotations

import copy
import json
import math
import re
from random import Random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 12, 0.5, 1e9, -1e9, 2**31, 2**63, 10**400, 1e308),
    *(math.nan, math.inf, -math.inf, "", "0", "1e9", "no", "zzzzzzzzzzzz", "[/b]", "a\0b"),
    *("\ud800", "x" * 5000, "../../x.png", "/", [], {}, [[]], [{}], [None], {"size": [9, 9]}),
)
"""What files from elsewhere hold where a number, a text or a list belongs."""

_HOSTILE_BYTES = (b"", b"\0" * 8, b"\xff" * 8, b"[" * 3000, b"NaN", b"1e999", b"-1", b'"', b"}")
_JSON_SHARE = 0.75  # of the cases that stay JSON
_CHANGES = (1, 1, 1, 2, 3)

Place = tuple[Any, Any]
"""A list or dict and the index or key of a value in it."""


def mutated_json(data: bytes, rng: Random) -> bytes:
    """JSON text with one to three changes of its structure, or of its bytes in a quarter of all."""
    if rng.random() > _JSON_SHARE:
        return mutated_bytes(data, rng)
    root = {"": json.loads(data)}
    for _ in range(rng.choice(_CHANGES)):
        places = _places(root)
        if not places:  # the last change has taken the whole
            break
        holder, key = rng.choice(places)
        other, other_key = rng.choice(places)
        _change(rng, holder, key, other[other_key])
    return json.dumps(root.get("")).encode()


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """Bytes with one to three changes."""
    for _ in range(rng.choice(_CHANGES)):
        start, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 64, 1024))
        piece = data[start : start + length]
        replacement = rng.choice(
            (
                *(b"", piece * 2, piece[::-1], rng.randbytes(len(piece)), data[:length] + piece),
                *(bytes(byte ^ 1 << rng.randrange(8) for byte in piece[:1]) + piece[1:],),
                *(rng.choice(_HOSTILE_BYTES), rng.choice(_HOSTILE_BYTES) + piece),
                _with_other_number(piece, rng),
            )
        )
        cut = rng.random() < 0.1
        data = data[:start] + replacement + (b"" if cut else data[start + length :])
    return data


def _places(root: Any) -> list[Place]:
    """Where each value below `root` is, in the order of the text."""
    places: list[Place] = []
    waiting = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return places


def _change(rng: Random, holder: Any, key: Any, other: Any) -> None:
    value = holder[key]
    what = rng.randrange(7)
    small = type(value) is float or (type(value) is int and abs(value) <= 10**300)
    if small and rng.random() < 0.6:  # gently, so that much is still taken
        holder[key] = value * rng.choice((1, 1, 1, -1, 0, 0.5, 1000)) + rng.choice((-1, 0.5, 1, 7))
    elif what < 3:
        holder[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif what == 3:
        holder[key] = copy.deepcopy(other)
    elif what == 4:
        del holder[key]
    elif what == 5 and isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(value)] * rng.choice((1, 3, 300))
    else:
        holder[key] = _nested(value, rng.choice((1, 2, 30)))


def _nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def _with_other_number(piece: bytes, rng: Random) -> bytes:
    number = rng.choice((b"-1", b"0", b"1e999", b"99999999999", b"18446744073709551616", b"0.5"))
    return re.sub(rb"\d+", number, piece, count=1)
