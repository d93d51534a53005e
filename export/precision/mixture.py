"""A model whose node groups compute in different precisions: a search chooses it, export writes it.

FP32 model -> groups in FP32, FP16, INT8, FP8 -> one typed file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx

from .fp16 import to_fp16
from .groups import group_tree

GroupPrecision = Literal["fp32", "fp16", "int8", "fp8"]


@dataclass(frozen=True)
class Mixture:
    """What each node group computes in."""

    groups: Mapping[str, GroupPrecision] = field(default_factory=dict)
    """By name, leaves of `groups.group_tree`; what is not named computes in `rest`."""
    rest: Literal["fp16", "fp32"] = "fp16"
    """FP16 where the policy allows it, or everything else as it is."""
    ranges: Mapping[str, float] = field(default_factory=dict)
    """By tensor of the FP32 model, the largest |x| that INT8 and FP8 hold, from calibration."""


def to_mixture(model: onnx.ModelProto, mixture: Mixture) -> onnx.ModelProto:
    """A copy of an FP32 model in the precisions of a mixture.

    Args:
        model: FP32 with its functions, as `apply_rules` leaves it; left alone.
        mixture: what computes in what.

    Raises:
        ExportError: a group names nothing, or a value of the model does not fit its precision.

    """
    kept = {name for name, precision in mixture.groups.items() if precision == "fp32"}
    if mixture.rest == "fp32":
        kept |= group_tree(model).names - mixture.groups.keys()
    return to_fp16(model, sorted(kept))
