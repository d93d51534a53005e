"""Whether INT8 or FP8 of a parsed network is scattered between conversions."""

from __future__ import annotations

from typing import Any

from .summary import LayerSummary
from .typed_network import TypedNetwork

WORST = 3


def scatter_note(network: Any, summary: LayerSummary) -> tuple[str, ...]:
    """A sentence on float layers that stand right between layers in eight bits; () without any.

    At each the values are dequantized before it and quantized behind it, which may cost more than
    the layers beside it gain.

    Args:
        network: parsed, strongly typed.
        summary: of the same network.
    """
    macs = {layer.name: layer.macs for layer in summary.layers}
    precision = {layer.name: layer.precision for layer in summary.layers}
    found = sorted(TypedNetwork(network).scattered(), key=lambda layer: -macs[layer.name])
    if not found:
        return ()
    worst = ", ".join(f"{x.name} ({precision[x.name]})" for x in found[:WORST])
    layers = "1 layer stands" if len(found) == 1 else f"{len(found)} layers stand"
    sentence = (
        f"{layers} in floats right between layers in eight bits, so values are converted twice "
        f"there: {worst}"
    )
    return (sentence,)
