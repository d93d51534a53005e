"""The lowest version of ONNX's file format (IR) that holds what a model uses.

torch's exporter writes a newer one, and a runtime refuses what is newer than itself whatever is in
the file: ONNX Runtime 1.16 and 1.17, as on JetPack 6, read IR 9 at most. IR 8 brought local
functions, and each version of the standard operators came with one, new element types with it.
The module path at each node is metadata of IR 10, which older readers pass over.
Source: the versions in onnx.proto and `onnx.helper.VERSION_TABLE`.
"""

from __future__ import annotations

import onnx
from onnx import helper

from .operators.domain import MIN_IR_VERSION


def lowest_ir_version(model: onnx.ModelProto) -> int:
    """The IR version that a model's operator versions and local functions need."""
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    functions = MIN_IR_VERSION if model.functions else 0
    return max(helper.find_min_ir_version_for(standard), functions)
