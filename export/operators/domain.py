"""The ONNX domain `maskrt`: what all of its local functions share.

Bodies are written as ONNX text and use only operators whose meaning did not change between opsets
17 and 23; a function imports the standard opset of the model that calls it.
"""

from __future__ import annotations

import onnx
from onnx import helper

DOMAIN = "maskrt"
DOMAIN_VERSION = 1
STANDARD_DOMAINS = ("", "ai.onnx")
MIN_OPSET = 17
# Functions in a model exist since IR version 8 (attribute defaults, since 9, are not used).
MIN_IR_VERSION = 8
PLUGIN_ATTRIBUTES: dict[str, int | float | str] = {
    "plugin_namespace": DOMAIN,
    "plugin_version": "1",
    "aot": 1,
}
"""TensorRT's parser finds a plugin by these; it skips attributes that a node lacks."""


def constants(**values: float | tuple[int, ...]) -> str:
    """Lines of a body that give names to constants.

    Args:
        values: an int is an int64 scalar, a float a float32 scalar, a tuple a 1-D int64 tensor.

    """
    return "".join(
        f"    {name} = Constant <{_literal(value)}> ()\n" for name, value in values.items()
    )


def _literal(value: float | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return f"value = int64[{len(value)}] {{{', '.join(map(str, value))}}}"
    return f"value = {'int64' if isinstance(value, int) else 'float'} {{{value!r}}}"


def standard_opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a model imports, 0 where it imports none."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return versions.get("", versions.get("ai.onnx", 0))


def import_domain(model: onnx.ModelProto) -> None:
    """Let a model call functions of the domain; changes `model`."""
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
