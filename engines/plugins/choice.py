"""Plugin or portable: how the `maskrt` operators of a model get into an engine, and why so.

    auto      plugins where they become part of the engine, else portable
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
from ...runtime.gpu.kernels.shipped import Kernel, file_name, load_kernel
from ..flavours import FIRST_WITH_PLUGINS, Flavour
from ..inline import plugin_model, portable_model, tensor_specs
from ..older_parser import in_older_words
from .operator_config import NAMESPACE, PARSERS, WINDOW_ALIGN, require_types, require_words

OPERATORS = ("auto", "plugin", "portable")


@dataclass(frozen=True)
class Prepared:
    """A model ready for the parser, and how its custom operators are in it."""

    operators: str
    """`plugin` or `portable`."""
    reason: str
    model: onnx.ModelProto
    kernels_sha256: dict[str, str] = field(default_factory=dict)
    """The plugins' kernels for this GPU, PTX file name to SHA-256."""


def prepare_operators(
    asked: str, flavour: Flavour, exported: onnx.ModelProto, where: str, against: str | None = None
) -> Prepared:
    """Choose, register the plugins if they are chosen, and make the model that the parser gets.

    Args:
        asked: one of `OPERATORS`.
        flavour: what builds; where it needs a GPU, one is there.
        exported: as `read_exported` gives it.
        where: the file, for errors.
        against: why this engine can hold no plugins, of whatever flavour it is.

    Raises:
        BuildError: the model's shapes contradict each other, or an operator has no body; with
            `plugin` also: this flavour or engine can hold no plugins, or one cannot compute a node.
    """
    operators, reason = choose_operators(asked, flavour, exported, against)
    if operators == "portable":
        model = portable_model(exported, where)
        return Prepared(
            operators, reason, model if flavour.strongly_typed else in_older_words(model)
        )
    try:
        register_plugins(flavour)
        model = plugin_model(exported, where)
        return Prepared(operators, reason, model, _kernels_of(model, flavour, where))
    except BuildError as err:
        if asked == "plugin":
            raise
        return Prepared("portable", str(err), portable_model(exported, where))


def choose_operators(
    asked: str, flavour: Flavour, exported: onnx.ModelProto, against: str | None = None
) -> tuple[str, str]:
    """`plugin` or `portable`, and why; of the model only whether it has custom operators.

    Raises:
        BuildError: `plugin` is asked for and this flavour or engine can hold none.
    """
    if not plugin_nodes(exported):
        return "portable", "no custom operators"
    if asked == "portable":
        return asked, "asked for"
    against = against or _flavour_against(flavour)
    if against is None:
        asked_for = f"{flavour} puts the operators' kernels into the engine"
        return "plugin", "asked for" if asked == "plugin" else asked_for
    if asked == "plugin":
        raise BuildError(
            f"{flavour}: '--operators plugin' cannot be had: {against}. "
            "Build with '--operators portable'."
        )
    return "portable", against


def _flavour_against(flavour: Flavour) -> str | None:
    """Why a flavour takes no plugins; None where it does."""
    if flavour.has_plugins:
        return None
    if flavour.name == "tensorrt-rtx":
        return "tensorrt-rtx has no plugins whose kernels become part of the engine"
    first = ".".join(map(str, FIRST_WITH_PLUGINS))
    return f"{flavour} has none that work ahead of time; {first} is the first that has"


def register_plugins(flavour: Flavour) -> None:
    """Register the plugins that the parser will look for; calls may repeat.

    An engine with them opens without: the kernels are part of it.

    Raises:
        BuildError: TensorRT's Python layer for plugins does not load.
    """
    try:
        from . import tensorrt_aot  # noqa: F401  (importing registers)
    except ImportError as err:
        raise BuildError(
            f"{flavour}: its Python layer for plugins does not load ({err}); expected "
            "tensorrt.plugin. Install tensorrt again, or build with '--operators portable'."
        ) from err


def plugin_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of our domain, which plugins can replace."""
    return [node for node in model.graph.node if node.domain == NAMESPACE]


def _kernels_of(model: onnx.ModelProto, flavour: Flavour, where: str) -> dict[str, str]:
    """File name to SHA-256 of the kernels that a plugin model's nodes start."""
    specs = tensor_specs(model)
    kernels: list[Kernel] = []
    for node in plugin_nodes(model):
        try:
            kernels.append(_kernel_of_node(node, specs, flavour))
        except BuildError as err:
            raise BuildError(f"{where}: node '{node.name}': {err}") from err
    return {file_name(k.name, k.target): k.sha256 for k in kernels}


def _kernel_of_node(node: onnx.NodeProto, specs: dict[str, TensorSpec], flavour: Flavour) -> Kernel:
    """The kernel that computes a node, tried on the node's shapes."""
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
    kernel = _kernel_for(cfg.kernel_name(half), flavour)
    cfg.launch(kernel, first.shape, second.shape, half)
    return kernel


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


def _kernel_for(name: str, flavour: Flavour) -> Kernel:
    """The kernel `name` for the GPU that builds."""
    gpu = device_info()
    if gpu is None:
        raise BuildError(
            f"{flavour}: the GPU does not say its compute capability ({missing_device()}); "
            "expected it, to choose the operators' kernels. Build with '--operators portable'."
        )
    return load_kernel(name, gpu.compute_capability)
