"""Prepared ONNX -> TensorRT network, and the sentences for what TensorRT refuses.

The parser and the builder answer None or False and log; here that becomes one `BuildError` that
quotes them with the ONNX node's name and operator.
"""

from __future__ import annotations

from typing import Any

import onnx

from ..runtime.contract import Contract, TensorSpec
from ..runtime.errors import BuildError
from ..runtime.sessions.trt.tensorrt_module import numpy_name, tensorrt_logger
from .flavours import Flavour
from .inline import tensor_specs
from .plugins.operator_config import NAMESPACE

# TensorRT's names for a layer that a plugin computes.
PLUGIN_LAYERS = ("PLUGIN_V2", "PLUGIN_V3")


def make_builder(flavour: Flavour) -> Any:
    """A `trt.Builder`.

    Raises:
        BuildError: this flavour needs a GPU and none answers.
    """
    logger = tensorrt_logger(flavour.trt)
    logger.clear()
    try:
        return flavour.trt.Builder(logger)
    except TypeError as err:  # the binding's way to say that the library returned no builder
        raise BuildError(
            f"{flavour}: no builder could be made ({logger.recent_errors()}); {flavour.name} needs "
            "an NVIDIA GPU to build. Build on a machine with one, or use '--runtime tensorrt-rtx', "
            "which builds here."
        ) from err


def parse_network(
    flavour: Flavour, builder: Any, model: onnx.ModelProto, contract: Contract, where: str
) -> Any:
    """Parse a prepared model into a network whose inputs and outputs are the contract's.

    Raises:
        BuildError: the parser refuses a node (quoted), tensors are not what the contract says, or
            a `maskrt` node of the model did not become a plugin.
    """
    network = builder.create_network(flavour.network_flags)
    parser = flavour.trt.OnnxParser(network, tensorrt_logger(flavour.trt))
    if not parser.parse(model.SerializeToString()):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        quoted = "; ".join(_quote(error, model) for error in errors[:5])
        raise BuildError(
            f"{where}: {flavour} cannot parse it: {quoted or 'no reason given'}. "
            "Export the model without these operators."
        )
    _require_contract(network, contract, where)
    _require_plugins(network, model, where)
    return network


def _quote(error: Any, model: onnx.ModelProto) -> str:
    """One parser error with its node; 8.6 gives the node's index only."""
    index = error.node()
    known = 0 <= index < len(model.graph.node)
    node = model.graph.node[index] if known else onnx.NodeProto()
    name = getattr(error, "node_name", lambda: "")() or node.name
    operator = getattr(error, "node_operator", lambda: "")() or node.op_type
    text = " ".join(error.desc().split())
    return f"node '{name}' ({operator}): {text}" if name or operator else text


def _require_contract(network: Any, contract: Contract, where: str) -> None:
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    parsed = {TensorSpec(t.name, tuple(t.shape), numpy_name(t.dtype)) for t in tensors}
    odd = parsed ^ {*contract.inputs, *contract.outputs}
    if odd:
        spec = min(odd, key=lambda s: (s.name, s not in parsed))
        side = "graph" if spec in parsed else "contract"
        raise BuildError(
            f"{where}: graph and contract differ: only the {side} has '{spec.name}' {spec.shape} "
            f"{spec.dtype}; expected fixed shapes, the same in both. Export it again."
        )


def _require_plugins(network: Any, model: onnx.ModelProto, where: str) -> None:
    """Every `maskrt` node left in `model` is a plugin's layer, of the shape its body makes."""
    layers = (network.get_layer(i) for i in range(network.num_layers))
    outputs = [layer.get_output(0) for layer in layers if layer.type.name in PLUGIN_LAYERS]
    made_by_plugins = {tensor.name: tuple(tensor.shape) for tensor in outputs}
    specs = tensor_specs(model)
    for node in (n for n in model.graph.node if n.domain == NAMESPACE):
        expected, made = specs[node.output[0]].shape, made_by_plugins.get(node.output[0])
        if made is None or not _agree(made, expected):
            instead = f"makes {made}" if made is not None else "is no plugin's layer"
            raise BuildError(
                f"{where}: node '{node.name}' ({node.op_type}) {instead} in TensorRT's network; "
                f"expected a plugin's layer of shape {expected}. "
                "Build with '--operators portable'."
            )


def _agree(made: tuple[int, ...], inferred: tuple[int, ...]) -> bool:
    """Whether two shapes are the same where inference, which gives 0 otherwise, knows the size."""
    sizes = zip(made, inferred, strict=False)
    return len(made) == len(inferred) and all(b in (a, 0) for a, b in sizes)


def serialize_network(
    flavour: Flavour,
    builder: Any,
    network: Any,
    config: Any,
    *,
    model: onnx.ModelProto,
    where: str,
) -> bytes:
    """Build the engine; returns its bytes. `model` and `where` serve the error only.

    Raises:
        BuildError: TensorRT gives none; its last errors are quoted, with the operators they name.
    """
    logger = tensorrt_logger(flavour.trt)
    logger.clear()
    plan = builder.build_serialized_network(network, config)
    if plan is not None:
        return bytes(plan)
    reason = logger.recent_errors()
    named = _named_nodes(reason, model)
    raise BuildError(
        f"{where}: {flavour} built no engine{named}: {reason}. "
        "Export the model without the operators it names, or give it more memory."
    )


def _named_nodes(text: str, model: onnx.ModelProto) -> str:
    """The ONNX nodes a message is about: their names occur in it as words (with a `_0` suffix)."""
    words = {word.strip("'\"[](),.:{}") for word in text.split()}
    words |= {word.rpartition("_")[0] for word in words}
    found = [f"'{n.name}' ({n.op_type})" for n in model.graph.node if n.name in words]
    return f" because of node {', '.join(found[:3])}" if found else ""
