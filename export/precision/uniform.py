"""INT8 or FP8 for every layer that takes it: what an export does where nobody chose by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import shape_inference

from ...runtime.contract import Contract, Rest
from ...runtime.errors import ExportError
from ..macs import graph_macs
from ..typed_graph import TypedGraph
from .calibration import calibrated, few_pictures
from .eight_bits import EightBits
from .exemptions import EXEMPTIONS, Exemption, left_out
from .mixture import GroupPrecision, Mixture, to_mixture
from .policy import is_layer


@dataclass(frozen=True)
class Quantized:
    """What became INT8 or FP8."""

    precision: EightBits
    rest: Rest
    """What everything else computes in."""
    layers: int
    """Layers with weights."""
    quantized_layers: int
    mac_share: float
    """INT8 or FP8 part of the layers' multiply-accumulates, 0..1."""
    pictures: int
    """Calibrated on."""
    left_out: dict[str, str]
    """By name, the layers in `rest` and the exemption that keeps them so."""

    @property
    def warning(self) -> str | None:
        """Of too few pictures."""
        return few_pictures(self.pictures)

    def __str__(self) -> str:
        """One line for people."""
        pictures = "1 picture" if self.pictures == 1 else f"{self.pictures} pictures"
        return (
            f"{self.precision.upper()}: {self.quantized_layers} of {self.layers} layers, "
            f"{self.mac_share:.1%} of their MACs, calibrated on {pictures}; the rest is "
            f"{self.rest.upper()}"
        )


def to_eight_bits(
    model: onnx.ModelProto,
    contract: Contract,
    precision: EightBits,
    pictures: Sequence[Path],
    rest: Rest = "fp16",
    exemptions: Sequence[Exemption] = EXEMPTIONS,
) -> tuple[onnx.ModelProto, Quantized]:
    """A copy of an FP32 model in which layers compute on INT8 or FP8 weights and inputs.

    Args:
        model: FP32 with its functions, as `apply_rules` leaves it; left alone.
        contract: its batch, canvas and resize rule.
        precision: of the layers.
        pictures: files to calibrate on, other ones than accuracy is measured on.
        rest: what everything else computes in.
        exemptions: which layers are part of the rest, beyond what cannot be in eight bits.

    Raises:
        InputError: no picture is named, or one cannot be read.
        ExportError: no layer is left, or the model cannot be converted.

    """
    graph = TypedGraph(shape_inference.infer_shapes(model))
    layers = [n.name for n in graph.nodes if is_layer(graph, n)]
    others = left_out(graph, precision, exemptions)
    names = [name for name in layers if name not in others]
    if not names:
        raise ExportError(
            f"{model.graph.name}: none of {len(layers)} layers can become {precision.upper()}; "
            "expected some. Export with --precision fp16."
        )
    groups: dict[str, GroupPrecision] = dict.fromkeys(names, precision)
    ranges = calibrated(model, contract, pictures)
    macs = {cost.name: cost.macs for cost in graph_macs(model).nodes}
    done, total = (sum(macs[name] for name in part) for part in (names, layers))
    return to_mixture(model, Mixture(groups, rest, ranges)), Quantized(
        precision=precision,
        rest=rest,
        layers=len(layers),
        quantized_layers=len(names),
        mac_share=done / total,
        pictures=len(pictures),
        left_out=others,
    )
