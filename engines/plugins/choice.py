"""Plugin or portable: how the `maskrt` operators of a model get into an engine, and why so.

    auto      plugins where TensorRT itself starts the kernels, else portable
    plugin    nodes without bodies: TensorRT must take the plugins and cannot fall back
    portable  the bodies of standard operators instead of the nodes

TensorRT prints what its callbacks raise and then fails without a reason. So everything a plugin
would refuse is looked for here first, in the ONNX nodes, with the plugins' own functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from ...runtime.contract import TensorSpec
from ...runtime.errors import BuildError
from ...runtime.gpu.cuda import device_info, missing_device
from ...runtime.gpu.kernels.shipped import Kernel, file_name, load_all_targets, load_kernel
from ..flavours import Flavour
from ..inline import plugin_model, portable_model, tensor_specs
from .operator_config import NAMESPACE, PARSERS, WINDOW_ALIGN, require_types, require_words
from .registration import FIRST_WITH_AOT, register_for_build

OPERATORS = ("auto", "plugin", "portable")
RTX_UNTRIED = "tensorrt-rtx: its plugin's enqueue has not been run on a GPU yet"


@dataclass(frozen=True)
class Prepared:
    """A model ready for the parser, and how its custom operators are in it."""

    operators: str
    """`plugin` or `portable`."""
    reason: str
    model: onnx.ModelProto
    kernels_sha256: dict[str, str] = field(default_factory=dict)
    """The plugins' kernels, PTX file name to SHA-256: the one of this GPU for TensorRT, all for
    TensorRT-RTX, which picks one where the engine runs."""


def prepare_operators(
    asked: str, flavour: Flavour, exported: onnx.ModelProto, where: str
) -> Prepared:
    """Choose, register the plugins if they are chosen, and make the model that the parser gets.

    Args:
        asked: one of `OPERATORS`.
        flavour: what builds; where it needs a GPU, one is there.
        exported: as `read_exported` gives it.
        where: the file, for errors.

    Raises:
        BuildError: the model's shapes contradict each other, or an operator has no body; with
            `plugin` also: this flavour has no plugins, or one cannot compute a node.
    """
    operators, reason = choose_operators(asked, flavour, exported)
    if operators == "portable":
        return Prepared(operators, reason, portable_model(exported, where))
    try:
        register_for_build(flavour)
        model = plugin_model(exported, where)
        return Prepared(operators, reason, model, _kernels_of(model, flavour, where))
    except BuildError as err:
        if asked == "plugin":
            raise
        return Prepared("portable", str(err), portable_model(exported, where))


def choose_operators(asked: str, flavour: Flavour, exported: onnx.ModelProto) -> tuple[str, str]:
    """`plugin` or `portable`, and why; of the model only whether it has custom operators."""
    if not plugin_nodes(exported):
        return "portable", "no custom operators"
    if asked != "auto":
        return asked, "asked for"
    if flavour.name == "tensorrt-rtx":
        return "portable", RTX_UNTRIED
    if flavour.version < FIRST_WITH_AOT:
        return "portable", f"{flavour} has no ahead-of-time plugins; 10.9 is the first that has"
    return "plugin", f"{flavour} puts the operators' kernels into the engine"


def plugin_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of our domain, which plugins can replace."""
    return [node for node in model.graph.node if node.domain == NAMESPACE]


def _kernels_of(model: onnx.ModelProto, flavour: Flavour, where: str) -> dict[str, str]:
    """File name to SHA-256 of the kernels that a plugin model's nodes start."""
    specs = tensor_specs(model)
    kernels: list[Kernel] = []
    for node in plugin_nodes(model):
        try:
            kernels += _kernels_of_node(node, specs, flavour)
        except BuildError as err:
            raise BuildError(f"{where}: node '{node.name}': {err}") from err
    return {file_name(k.name, k.target): k.sha256 for k in kernels}


def _kernels_of_node(
    node: onnx.NodeProto, specs: dict[str, TensorSpec], flavour: Flavour
) -> list[Kernel]:
    """The kernels that may compute a node, each tried on the node's shapes."""
    parse = PARSERS.get(node.op_type)
    if parse is None:
        raise BuildError(
            f"{node.op_type}: no plugin found; expected {' or '.join(PARSERS)}. "
            "Build with '--operators portable'."
        )
    cfg = parse(next((a.s.decode() for a in node.attribute if a.name == "cfg"), ""))
    first, second = _inputs(node, specs)
    half = first.dtype == "float16"
    if node.op_type == WINDOW_ALIGN:
        require_words(first.shape[2], half)
    kernels = _candidates(cfg.kernel_name(half), flavour)
    for kernel in kernels:
        cfg.launch(kernel, first.shape, second.shape, half)
    return kernels


def _inputs(node: onnx.NodeProto, specs: dict[str, TensorSpec]) -> tuple[TensorSpec, TensorSpec]:
    """Features or pyramid, and boxes or windows, of the types the kernels read."""
    unknown = [name for name in node.input if name not in specs]
    if unknown or len(node.input) != 2:
        raise BuildError(
            f"{node.op_type}: {len(node.input)} inputs found, without a known shape: "
            f"{', '.join(unknown) or 'none'}; expected two of fixed shapes. Export it again."
        )
    first, second = (specs[name] for name in node.input)
    require_types(node.op_type, first.dtype, second.dtype)
    return first, second


def _candidates(name: str, flavour: Flavour) -> list[Kernel]:
    """The kernel `name` for the GPU that builds, or for every one where the GPU comes later."""
    if flavour.name == "tensorrt-rtx":
        return load_all_targets(name)
    gpu = device_info()
    if gpu is None:
        raise BuildError(
            f"{flavour}: the GPU does not say its compute capability ({missing_device()}); "
            "expected it, to choose the operators' kernels. Build with '--operators portable'."
        )
    return [load_kernel(name, gpu.compute_capability)]
