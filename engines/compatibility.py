"""Engines for other places: later TensorRT versions, other GPUs, without their weights.

| `maskrt build` with       | 8.6 | 10.x         | 11.x | tensorrt-rtx | with plugins |
|---------------------------|-----|--------------|------|--------------|--------------|
| `--version-compatible`    | yes | yes          | yes  | no           | no           |
| `--hardware-compatible`   |     |              |      |              |              |
|         `ampere-plus`     | yes | yes          | yes  | no           | no           |
|         `same-capability` | no  | from 10.9 on | yes  | no           | yes          |
| `--strip-weights`         | no  | yes          | yes  | no           | yes          |

Each makes some engines slower, so none is on by itself. What a version has is read from its enums;
TensorRT-RTX has the names as well, but answers with a warning or an error.
Source: TensorRT 8.6, 10.16 and 11.4 documentation, "Engine Compatibility" and "Refitting an
Engine", and Python bindings; TensorRT-RTX 1.7.1, tried on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..runtime.errors import BuildError, InputError
from .flavours import Flavour

HARDWARE_LEVELS = {
    "ampere-plus": "AMPERE_PLUS",
    "same-capability": "SAME_COMPUTE_CAPABILITY",
}
"""As `--hardware-compatible` takes them -> TensorRT's `HardwareCompatibilityLevel`."""

_REBUILD = "Leave it away, and build on the version that runs it"
_RTX_REFUSES = {
    "version_compatible": ("an engine runs on the version that built it alone", _REBUILD),
    "hardware_compatible": (
        "an engine runs on every GPU that it is for, without an option",
        "Leave it away",
    ),
    "strip_weights": (
        "without a GPU its compiler stops at it (1.7.1), so nothing here has tried it",
        "Leave it away, or build with '--runtime tensorrt'",
    ),
}


@dataclass(frozen=True)
class Compatibility:
    """Where an engine is to run beside the TensorRT and the GPU that build it.

    Raises:
        InputError: a hardware level that is unknown, or `exclude_lean_runtime` alone.
    """

    version_compatible: bool = False
    """On later versions of TensorRT, and on their lean runtime."""
    exclude_lean_runtime: bool = False
    """Leave the lean runtime of the version that builds (some 40 MB) out of such an engine: where
    it runs, TensorRT needs that runtime's library."""
    hardware_compatible: str | None = None
    """One of HARDWARE_LEVELS: on compute capability 8.0 and later, or on all of the same one."""
    strip_weights: bool = False
    """Without weights: they come from the ONNX file when the engine is opened."""

    def __post_init__(self) -> None:
        """Check what needs no TensorRT to check."""
        if self.hardware_compatible not in (None, *HARDWARE_LEVELS):
            raise InputError(
                f"hardware_compatible '{self.hardware_compatible}': unknown; expected "
                f"{' or '.join(HARDWARE_LEVELS)}. Choose one of these."
            )
        if self.exclude_lean_runtime and not self.version_compatible:
            raise InputError(
                "exclude_lean_runtime: found without version_compatible; expected both, as only "
                "those engines hold the lean runtime. Add the other, or leave it away."
            )

    @property
    def arguments(self) -> list[str]:
        """As a command line asks for it."""
        level = self.hardware_compatible
        return [
            *(["--version-compatible"] if self.version_compatible else []),
            *(["--exclude-lean-runtime"] if self.exclude_lean_runtime else []),
            *(["--hardware-compatible", level] if level else []),
            *(["--strip-weights"] if self.strip_weights else []),
        ]

    @property
    def against_plugins(self) -> str | None:
        """Why such an engine can hold no plugins; None where it can."""
        if self.version_compatible:
            return "a version-compatible engine holds what TensorRT's lean runtime has, no plugins"
        if self.hardware_compatible == "ampere-plus":
            return "a plugin's kernel is chosen for one GPU, and this engine is for others too"
        return None


NOWHERE_ELSE = Compatibility()
"""An engine for the TensorRT and the GPU that build it, with its weights."""


def require_compatibility(asked: Compatibility, flavour: Flavour) -> None:
    """Check that a flavour can build what is asked for.

    Raises:
        BuildError: it cannot.
    """
    enums = {"version_compatible": "VERSION_COMPATIBLE", "strip_weights": "STRIP_PLAN"}
    for name in ("version_compatible", "hardware_compatible", "strip_weights"):
        if not getattr(asked, name):
            continue
        if flavour.name == "tensorrt-rtx":
            raise _refused(flavour, name, *_RTX_REFUSES[name])
        if name in enums and not hasattr(flavour.trt.BuilderFlag, enums[name]):
            raise _refused(flavour, name, "this version does not know it", "Use TensorRT 10")
    level = HARDWARE_LEVELS.get(asked.hardware_compatible or "")
    if level and not hasattr(flavour.trt.HardwareCompatibilityLevel, level):
        advice = "Use TensorRT 10.9 or later, or 'ampere-plus'"
        found = f"this version does not know '{asked.hardware_compatible}'"
        raise _refused(flavour, "hardware_compatible", found, advice)


def set_compatibility(asked: Compatibility, flavour: Flavour, config: Any) -> None:
    """Ask TensorRT's `IBuilderConfig` for it."""
    flags = flavour.trt.BuilderFlag
    if asked.version_compatible:
        config.set_flag(flags.VERSION_COMPATIBLE)
    if asked.exclude_lean_runtime:
        config.set_flag(flags.EXCLUDE_LEAN_RUNTIME)
    if asked.hardware_compatible:
        level = HARDWARE_LEVELS[asked.hardware_compatible]
        levels = flavour.trt.HardwareCompatibilityLevel
        config.hardware_compatibility_level = getattr(levels, level)
    if asked.strip_weights:
        config.set_flag(flags.STRIP_PLAN)
        # Exactly these weights come back. For any other that would fit, REFIT, TensorRT fuses less,
        # and drops some biases (known issue of 11.3).
        config.set_flag(flags.REFIT_IDENTICAL)


def _refused(flavour: Flavour, name: str, found: str, advice: str) -> BuildError:
    option = "--" + name.replace("_", "-")
    return BuildError(f"{flavour}: {option} cannot be had: {found}. {advice}.")
