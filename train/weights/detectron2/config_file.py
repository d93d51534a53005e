"""Detectron2's YAML configs: a chain of `_BASE_` files as one flat table of plain values.

Detectron2 is not asked: a config is data here, read by YAML's safe loader, and nothing in it can
run. Text that is written as Python writes a tuple or a number is read as one, as yacs does:
`MIN_SIZE_TRAIN: (640, 672)` is two numbers.

Source: fvcore common/config.py (`load_yaml_with_base`) and yacs (`_decode_cfg_value`).
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ....runtime.errors import InputError, first_line
from ....runtime.files import require_file
from ...recipes.recipe import MOST_BYTES, YAML_ERRORS
from ...recipes.values import shown

BASE, MOST_NAME = "_BASE_", 1000
"""And the most characters of a file's name in it."""
SUFFIXES = (".yaml", ".yml")
MOST_READS = 32
"""Of files for one config; each may name several bases."""
MOST_SETTINGS, MOST_LEVELS = 10_000, 10
"""Of one file; Detectron2 has some three hundred in four. YAML's aliases make few bytes many."""
MOST_LITERAL = 1000
"""Characters of a tuple written as text; Python's parser recurses in what is longer."""


@dataclass(frozen=True)
class Config:
    """A config with what its bases say."""

    path: Path
    settings: dict[str, Any]
    """By dotted name, e.g. "MODEL.RPN.NMS_THRESH": numbers, texts, booleans, None, lists."""
    files: dict[str, str]
    """SHA-256 of each file of the chain, by its path from the first one's folder."""


def read_config(path: Path) -> Config:
    """Read a config and the chain of its bases; what a file says goes before what its bases say.

    Raises:
        InputError: it, or a base, is missing, no YAML file or no mapping, asks for an object, or
            the chain leads back to itself.
    """
    read: list[tuple[Path, str]] = []
    settings = _chain((path,), read)
    start = path.parent
    return Config(path, settings, {os.path.relpath(file, start): sha for file, sha in read})


def _chain(named: tuple[Path, ...], read: list[tuple[Path, str]]) -> dict[str, Any]:
    """The settings of the last file of `named`, which led to each other, over those of its bases.

    Each file that is read is added to `read`, with its SHA-256.
    """
    path = named[-1]
    _check_place(named)
    if len(read) == MOST_READS:
        raise InputError(
            f"{named[0]}: more than {MOST_READS} files by {BASE}; expected at most so many. "
            "Write them into one."
        )
    data = _bytes_of(path)
    read.append((path, hashlib.sha256(data).hexdigest()))
    content = _mapping(path, data)
    settings: dict[str, Any] = {}
    for base in _bases(path, content.pop(BASE, [])):
        settings |= _chain((*named, base), read)
    return settings | dict(_flat(path, content))


def _check_place(named: tuple[Path, ...]) -> None:
    """That the last file is there, is YAML, and is not among those that led to it."""
    *above, path = named
    if path.suffix == ".py":
        raise InputError(
            f"{path}: a lazy config, which is Python that would have to be run; expected YAML. "
            "Write the settings that differ from Detectron2's mask_rcnn_R_50_C4 into a .yaml file."
        )
    try:
        require_file(path, "a Detectron2 config", SUFFIXES)
    except InputError as err:
        raise InputError(f"{err} It is the {BASE} of {above[-1]}.") if above else err from None
    if path.resolve() in [file.resolve() for file in above]:
        chain = " -> ".join(file.name for file in named)
        raise InputError(
            f"{path}: {BASE} leads back to it ({chain}); expected a chain that ends. "
            f"Take one {BASE} away."
        )


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as err:
        raise InputError(
            f"{path}: could not be read ({err.strerror}); expected a Detectron2 config. "
            "Check permissions."
        ) from err
    if len(data) > MOST_BYTES:
        raise InputError(
            f"{path}: {len(data)} bytes; expected a config of at most {MOST_BYTES}. "
            "Name a YAML file that holds one."
        )
    return data


def _mapping(path: Path, data: bytes) -> dict[Any, Any]:
    """What the YAML of one file holds."""
    try:
        content = yaml.safe_load(data)
    except YAML_ERRORS as err:
        problem = str(getattr(err, "problem", None) or first_line(err))[:200]
        if "constructor for the tag" in problem:
            raise InputError(
                f"{path}: asks for an object ({problem}); expected plain values. It was refused "
                "and nothing in it was run. Write the values out."
            ) from err
        raise InputError(
            f"{path}: not valid YAML ({problem}); expected a Detectron2 config. Correct it."
        ) from err
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds {shown(content)}; expected a mapping with keys like MODEL and INPUT. "
            "Name a Detectron2 config."
        )
    return content


def _bases(path: Path, value: Any) -> Iterator[Path]:
    """The files a `_BASE_` names, one or a list, seen from the folder of the file that names them.

    An address is none of them: nothing is downloaded.
    """
    for name in value if isinstance(value, list) else [value]:
        printable = isinstance(name, str) and 0 < len(name) <= MOST_NAME and name.isprintable()
        if not printable or "://" in name:
            raise InputError(
                f"{path}: {BASE}={shown(name)}; expected the path of a YAML file. Download it, and "
                "name it as it lies from here."
            )
        yield path.parent / os.path.expanduser(name)


def _flat(path: Path, content: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of one file."""
    waiting: list[tuple[tuple[str, ...], dict[Any, Any]]] = [((), content)]
    count = 0
    while waiting:
        above, section = waiting.pop()
        count += len(section)
        if count > MOST_SETTINGS or len(above) > MOST_LEVELS:
            raise InputError(
                f"{path}: more than {MOST_SETTINGS} settings or {MOST_LEVELS} levels; expected "
                "those of a Detectron2 config. Name one."
            )
        for key, value in section.items():
            if not isinstance(key, str) or not key.isprintable() or len(key) > 100:
                raise InputError(
                    f"{path}: the key {shown(key)}; expected names like MODEL. Correct it."
                )
            if isinstance(value, dict):
                waiting.append(((*above, key), value))
            else:
                yield ".".join((*above, key)), _literal(value)


def _literal(value: Any) -> Any:
    """Text that Python would read as a number, tuple or list, as that; tuples as lists."""
    if isinstance(value, str) and len(value) <= MOST_LITERAL:
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
    return list(value) if isinstance(value, tuple) else value
