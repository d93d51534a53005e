"""The text of an MMDetection config, which is Python, read without running it.

A checkpoint holds the resolved config as text (`meta.cfg`; `meta.config` before 3.0), and training
writes the same beside it. Such text is assignments of plain values and `dict(...)`; anything else
in it is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ....runtime.errors import InputError
from ...recipes.values import shown

MOST_CHARACTERS = 1 << 20
"""Of a config; a resolved one has some ten thousand."""


def settings_of(text: str, where: str) -> dict[str, Any]:
    """What a config assigns, by dotted names, e.g. "model.backbone.depth": 50; lists as they are.

    Raises:
        InputError: it is no Python, is too long, names a `_base_`, or asks for more than values.
    """
    if len(text) > MOST_CHARACTERS:
        raise _refusal(where, f"{len(text)} characters")
    try:
        tree = ast.parse(text)
        assigned = {
            node.targets[0].id: _value(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError) as err:
        raise _refusal(where, shown(str(err))) from err
    if "_base_" in assigned:
        raise _refusal(where, f"_base_={shown(assigned['_base_'])}")
    return dict(_flat("", assigned))


def _value(node: ast.expr) -> Any:
    """A plain value, lists and dicts of them, and `dict(...)`."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError(f"a call in line {node.lineno}")
        return {str(word.arg): _value(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key) for key in node.keys]
        return dict(zip(map(str, keys), map(_value, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)


def _flat(prefix: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        if isinstance(item, dict):
            rows += _flat(f"{prefix}{key}.", item)
        else:
            rows.append((f"{prefix}{key}", item))
    return rows


def _refusal(where: str, found: str) -> InputError:
    return InputError(
        f"{where}: {found} found; expected a resolved MMDetection config, assignments of plain "
        "values. Nothing in it was run. Name the one that training wrote into its work folder."
    )
