"""Layers of a parsed network or of an engine: what each computes in and how much work it is.

Multiply-accumulates (MACs) weigh the layers: a share of layers alone would count a convolution and
an addition of four numbers as equals.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

FLOATS = ("float32", "float16", "bf16")
EIGHT_BITS = ("fp8", "int8")
"""Of a product whose factors both are."""
SHARES = {"float32": "fp32", "float16": "fp16", "bf16": "bf16", "fp8": "fp8", "int8": "int8"}
# No arithmetic: a constant's type, a cast or a change of memory layout proves nothing.
UNCOUNTED = ("CONSTANT", "CAST", "REFORMAT", "NOOP")
# TensorRT joins the names of fused nodes by the ASCII separators 1E and 1F, or by nothing.
_ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\]\x1e\x1f]+)\]")


@dataclass(frozen=True)
class Layer:
    """One layer; `macs` is 0 for everything but convolutions and matrix products."""

    name: str
    kind: str
    precision: str
    """Widest type among its inputs ("float16" only when all floats are); of a product "int8" or
    "fp8" where both factors are; "" when none of these."""
    macs: int
    onnx: tuple[str, ...] = ()
    """The ONNX nodes it computes; a fused layer has several, one of TensorRT's own none."""


@dataclass(frozen=True)
class LayerSummary:
    """Layers of a parsed network or of an engine."""

    source: str
    """`parsed network` or `engine inspector`."""
    layers: tuple[Layer, ...]
    unattributed_macs: int = 0
    """MACs of the network that no layer of the engine could be shown to do."""

    @property
    def fp16_layer_share(self) -> float:
        """Share in 0..1 of the layers that compute on floats, whose floats are all FP16."""
        floats = [x for x in self.layers if x.precision in FLOATS and _counts(x)]
        return _share(sum(x.precision == "float16" for x in floats), len(floats))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, those without a layer included."""
        return sum(x.macs for x in self.layers) + self.unattributed_macs

    @property
    def fp16_mac_share(self) -> float:
        """Share in 0..1 of all MACs that are shown to have FP16 inputs: a lower bound."""
        return _share(sum(x.macs for x in self.layers if x.precision == "float16"), self.macs)

    @property
    def mac_shares(self) -> dict[str, float]:
        """Share in 0..1 of all MACs by what they are shown to be computed in."""
        shares = {SHARES[x.precision]: 0 for x in self.layers if x.macs and x.precision in SHARES}
        for x in self.layers:
            if x.macs and x.precision in SHARES:
                shares[SHARES[x.precision]] += x.macs
        ordered = (name for name in SHARES.values() if name in shares)
        return {name: _share(shares[name], self.macs) for name in ordered}

    def widest(self, count: int) -> tuple[Layer, ...]:
        """The layers with the most MACs that are not FP16, at most `count`, largest first."""
        wide = (x for x in self.layers if x.macs and x.precision != "float16")
        return tuple(sorted(wide, key=lambda x: -x.macs)[:count])

    def to_dict(self) -> dict[str, Any]:
        """JSON form for sidecar and reports; layers as [name, kind, precision, macs, [onnx]]."""
        return {
            "source": self.source,
            "layer_count": len(self.layers),
            "layers_by_precision": dict(Counter(x.precision or "other" for x in self.layers)),
            "fp16_layer_share": round(self.fp16_layer_share, 4),
            "macs": self.macs,
            "fp16_mac_share": round(self.fp16_mac_share, 4),
            "mac_shares": {name: round(share, 4) for name, share in self.mac_shares.items()},
            "unattributed_macs": self.unattributed_macs,
            "layers": [[x.name, x.kind, x.precision, x.macs, [*x.onnx]] for x in self.layers],
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> LayerSummary:
        """Read back what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is of another form.
        """
        layers = (
            Layer(name, kind, precision, int(macs), tuple(onnx))
            for name, kind, precision, macs, onnx in record["layers"]
        )
        return cls(record["source"], tuple(layers), int(record["unattributed_macs"]))


def onnx_names(metadata: str) -> tuple[str, ...]:
    """Names of ONNX nodes in a layer's metadata, each once.

    TensorRT's parser writes "[ONNX Layer: NAME]" to each layer it makes for a node, and the
    builder joins those of the layers it fuses.
    """
    return tuple(dict.fromkeys(_ONNX_NAME.findall(metadata)))


def widest(types: list[str]) -> str:
    """The widest of some type names, floats before eight bits, "" when it is none of these."""
    return next((name for name in (*FLOATS, *EIGHT_BITS) if name in types), "")


def _counts(layer: Layer) -> bool:
    return layer.kind.upper() not in UNCOUNTED


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
