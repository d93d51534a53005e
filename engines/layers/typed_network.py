"""Who makes and reads a tensor of a parsed TensorRT network, and where eight bits reach a product.

A strongly typed network multiplies in INT8 or FP8 what comes from DEQUANTIZE layers: the product
itself reads floats, and TensorRT fuses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...runtime.sessions.trt.tensorrt_module import numpy_name

_MOVES = {"SHUFFLE", "CAST", "IDENTITY"}
"""What may stand between DEQUANTIZE and a product."""
_PRODUCTS = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"}
_BETWEEN = {
    *("ACTIVATION", "CAST", "CONCATENATION", "DEQUANTIZE", "ELEMENTWISE", "IDENTITY", "POOLING"),
    *("QUANTIZE", "SCALE", "SHUFFLE", "SLICE", "UNARY"),
}
"""What values pass through from one product to the next."""


class TypedNetwork:
    """A parsed `INetworkDefinition` with look-ups."""

    def __init__(self, network: Any) -> None:
        self.layers = [network.get_layer(i) for i in range(network.num_layers)]
        self._maker = {
            layer.get_output(i).name: layer
            for layer in self.layers
            for i in range(layer.num_outputs)
        }

    def inputs(self, layer: Any) -> list[Any]:
        """The tensors that a layer reads."""
        given = (layer.get_input(i) for i in range(layer.num_inputs))
        return [tensor for tensor in given if tensor is not None]

    def eight_bits(self, product: Any) -> str:
        """`int8` or `fp8` where both factors of a product are dequantized from it, else ""."""
        found = {self._dequantized(tensor) for tensor in self.inputs(product)[:2]}
        one_input = len(self.inputs(product)) < 2  # a weight that is no tensor is a float's
        return found.pop() if len(found) == 1 and not one_input else ""

    def scattered(self) -> list[Any]:
        """Float products right between products in eight bits: values are converted twice there."""
        reading = self._reading()
        found = []
        for layer in self.layers:
            if not self._is_product(layer) or self.eight_bits(layer):
                continue
            before, after = self._makers(layer), reading.get(layer.name, [])
            if _any_eight(self, before) and _any_eight(self, after):
                found.append(layer)
        return found

    def _dequantized(self, tensor: Any) -> str:
        maker = self._maker.get(tensor.name)
        while maker is not None and maker.type.name in _MOVES:
            maker = self._maker.get(maker.get_input(0).name)
        if maker is None or maker.type.name != "DEQUANTIZE":
            return ""
        return numpy_name(maker.get_input(0).dtype)

    def _is_product(self, layer: Any) -> bool:
        """A convolution, or a matrix product with a stored factor."""
        if layer.type.name != "MATRIX_MULTIPLY":
            return layer.type.name in _PRODUCTS
        makers = (self._maker.get(tensor.name) for tensor in self.inputs(layer))
        stored = any(maker is not None and maker.type.name == "CONSTANT" for maker in makers)
        return stored or bool(self.eight_bits(layer))

    def _makers(self, product: Any) -> list[Any]:
        """The products whose values reach this one."""
        return list(self._behind(self.inputs(product)[0], set()))

    def _behind(self, tensor: Any, seen: set[str]) -> Iterator[Any]:
        maker = self._maker.get(tensor.name)
        if maker is None or maker.name in seen:
            return
        seen.add(maker.name)
        if self._is_product(maker):
            yield maker
        elif maker.type.name in _BETWEEN:
            for given in self.inputs(maker):
                yield from self._behind(given, seen)

    def _reading(self) -> dict[str, list[Any]]:
        """By a product's name the products that its values reach."""
        found: dict[str, list[Any]] = {}
        for layer in self.layers:
            if self._is_product(layer):
                for maker in self._makers(layer):
                    found.setdefault(maker.name, []).append(layer)
        return found


def _any_eight(network: TypedNetwork, products: list[Any]) -> bool:
    return any(network.eight_bits(product) for product in products)
