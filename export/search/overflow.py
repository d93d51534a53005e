"""Which groups FP16 cannot hold: how near to its end the values of each one come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt
import onnx

from ..precision.fp16 import to_fp16
from ..precision.groups import Kept, beyond_half
from ..precision.headroom import tensor_peaks
from .times import group_of_nodes


def fullest_values(
    model: onnx.ModelProto, groups: Kept, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> dict[str, float]:
    """The largest |x| / 65504 of each group's results over some runs in FP32; 1 and more overflows.

    Groups whose weights FP16 cannot even store are left out, as are those that stay FP32 anyway.

    Args:
        model: FP32; left alone.
        groups: leaves of `group_tree`.
        feeds: the inputs of each run, by name.
    """
    group_of = group_of_nodes(model, groups)
    fullest: dict[str, float] = {}
    for peak in tensor_peaks(to_fp16(model, sorted(beyond_half(model))), feeds):
        group = group_of.get(peak.node)
        if group is not None:
            fullest[group] = max(fullest.get(group, 0.0), peak.share)
    return fullest
