"""What differs between the TensorRT products this project builds for, in one place.

| flavour            | typing                                 | builds on | timing cache | plugins |
|--------------------|----------------------------------------|-----------|--------------|---------|
| `tensorrt` 11.x    | strong, the only kind                  | a GPU     | yes          | yes     |
| `tensorrt` 10.x    | strong, asked for by a flag            | a GPU     | yes          | 10.16   |
| `tensorrt` 8.6     | FP16 flag, layer precisions from ONNX  | a GPU     | yes          | no      |
| `tensorrt-rtx` 1.7 | strong, the only kind                  | anything  | no           | no      |

The rest of `engines` asks a `Flavour` and never a version. Enum values differ between versions, so
flags are read from the module, never written as numbers.
Source: TensorRT release notes 8.6 to 11.4, TensorRT-RTX 1.7; Python bindings of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..runtime.errors import BuildError, SessionError
from ..runtime.sessions.trt.tensorrt_module import import_tensorrt

SUPPORTED: dict[str, tuple[str, Callable[[int, int], bool]]] = {
    "tensorrt": ("11.x, 10.x or 8.6", lambda a, b: a in (10, 11) or (a, b) == (8, 6)),
    "tensorrt-rtx": ("1.7", lambda a, b: (a, b) == (1, 7)),
}

FIRST_WITH_PLUGINS = (10, 16)
"""Quick deployable plugins with a kernel ahead of time came with 10.9. But the Python packages of
10.9 to 10.13.3 lack `tensorrt.plugin`, and up to 10.15 a plugin's configuration arrives damaged
with NumPy 2 (`PluginField.data` is of freed memory): builds fail without a reason."""


@dataclass(frozen=True)
class Flavour:
    """One TensorRT product and version as installed here."""

    trt: Any
    """Its Python module."""
    name: str
    """`tensorrt` or `tensorrt-rtx`."""
    version_text: str
    version: tuple[int, int]
    """Major and minor."""
    network_flags: int
    """Argument of `Builder.create_network`."""
    strongly_typed: bool
    """Precision is the network's own; False asks for it by flags and layer precisions (8.6)."""
    has_timing_cache: bool
    """False: the calls exist, do nothing and ask for a GPU (TensorRT-RTX)."""
    has_progress: bool
    has_plugins: bool
    """It takes our operators' kernels into the engine."""
    needs_gpu: bool
    """To build; to run all of them do."""

    def __str__(self) -> str:
        """Product and version, as "tensorrt-rtx 1.7.1.116"."""
        return f"{self.name} {self.version_text}"


def load_flavour(runtime: str) -> Flavour:
    """The installed flavour of `tensorrt` or `tensorrt-rtx`.

    Raises:
        BuildError: not installed (with the pip line), or a version that is not supported.
    """
    try:
        module = import_tensorrt(runtime)
    except SessionError as err:
        hint = (
            "" if runtime == "tensorrt-rtx" else " '--runtime tensorrt-rtx' builds without a GPU."
        )
        raise BuildError(f"{err}.{hint}".replace("..", ".")) from err
    return flavour_of(module, runtime)


def flavour_of(trt: Any, name: str) -> Flavour:
    """Describe an imported TensorRT module.

    Raises:
        BuildError: its version is not one of the supported ones.
    """
    major, minor = (int(part) for part in trt.__version__.split(".")[:2])
    text, is_supported = SUPPORTED[name]
    if not is_supported(major, minor):
        raise BuildError(
            f"{name}: version {trt.__version__} is installed; expected {text}. "
            "Install a supported version."
        )
    strongly_typed = name == "tensorrt-rtx" or major >= 10
    flags = trt.NetworkDefinitionCreationFlag
    flag = flags.STRONGLY_TYPED if strongly_typed else flags.EXPLICIT_BATCH
    return Flavour(
        trt=trt,
        name=name,
        version_text=trt.__version__,
        version=(major, minor),
        network_flags=1 << int(flag),
        strongly_typed=strongly_typed,
        has_timing_cache=name == "tensorrt",
        has_progress=hasattr(trt, "IProgressMonitor"),
        has_plugins=name == "tensorrt" and (major, minor) >= FIRST_WITH_PLUGINS,
        needs_gpu=name == "tensorrt",
    )


def request_precision(
    flavour: Flavour, config: Any, network: Any, tensor_types: dict[str, str], tf32: bool
) -> None:
    """Make the builder keep the precisions the ONNX file states.

    TF32 is off unless asked for: its 10 bits of mantissa are not FP32, and the FP32 islands of our
    graphs hold coordinates. Strongly typed flavours take the rest from the network; TensorRT 8.6 is
    told layer by layer and must obey.

    Args:
        flavour: what builds.
        config: its `IBuilderConfig`.
        network: its parsed `INetworkDefinition`.
        tensor_types: ONNX tensor name to "float16", "float32", ... (TensorRT keeps the names).
        tf32: let FP32 convolutions and products run in TF32.

    Raises:
        BuildError: an INT8 or FP8 file for TensorRT 8.6.
    """
    trt = flavour.trt
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if flavour.strongly_typed:
        return
    eight_bits = {"int8": "INT8", "float8_e4m3fn": "FP8"}
    found = next((word for kind, word in eight_bits.items() if kind in tensor_types.values()), None)
    if found is not None:
        raise BuildError(
            f"{flavour}: an {found} file found; expected FP32 or FP16, as maskrt sets this "
            "version's precision layer by layer. Build with TensorRT 10 or later, or export in "
            "FP16."
        )
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for index in range(network.num_layers):
        _set_layer_precision(trt, network.get_layer(index), tensor_types)


def _set_layer_precision(trt: Any, layer: Any, tensor_types: dict[str, str]) -> None:
    """Give one 8.6 layer the precision of its outputs; casts and constants have their own."""
    if layer.type in (trt.LayerType.CAST, trt.LayerType.CONSTANT):
        return
    known = {"float16": trt.DataType.HALF, "float32": trt.DataType.FLOAT}
    for index in range(layer.num_outputs):
        tensor = layer.get_output(index)
        # Tensors the parser made itself have no ONNX type; theirs follows from their inputs.
        dtype = known.get(tensor_types.get(tensor.name, ""), tensor.dtype)
        if dtype in known.values():
            layer.precision = dtype
            layer.set_output_type(index, dtype)
