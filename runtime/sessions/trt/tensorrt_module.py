"""The two TensorRT Python modules behind one import: `tensorrt` and `tensorrt_rtx`.

Both have the same classes under another module name, so engines and sessions take the module as a
value. It is imported here only, with the pip line where it is missing. Its logger is here too:
TensorRT keeps the first logger it is given for the life of the process, hence one per module.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import deque
from typing import Any, Literal

from ...errors import SessionError, pip_line

TensorRTName = Literal["tensorrt", "tensorrt-rtx"]
MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
EXTRAS: dict[str, str] = {"tensorrt": "gpu", "tensorrt-rtx": "engines"}
# What the operators' plugins are registered under.
PLUGIN_NAMESPACE, PLUGIN_VERSION = "maskrt", "1"

# TensorRT's own `nptype` names aliases that newer numpy removed (8.6), so the few types used here.
_NUMPY_NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}

_LOG = logging.getLogger(__name__)


def import_tensorrt(name: str) -> Any:
    """The Python module of a TensorRT product, `tensorrt` or `tensorrt-rtx`.

    Raises:
        SessionError: it is not installed, or its libraries do not load.
    """
    if name not in MODULES:
        raise SessionError(
            f"runtime '{name}': unknown; expected {' or '.join(MODULES)}. Choose one of these."
        )
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as err:
        found = "is not installed" if err.name == MODULES[name] else f"lacks '{err.name}'"
        raise SessionError(f"{name}: the Python package {found}. {pip_line(EXTRAS[name])}") from err
    except (ImportError, OSError, RuntimeError) as err:
        raise SessionError(
            f"{name}: the installed package does not load ({err}); expected its libraries beside "
            f"it. {pip_line(EXTRAS[name])}"
        ) from err


def numpy_name(dtype: Any) -> str:
    """The numpy name of a `trt.DataType`, or TensorRT's own in lower case where numpy has none."""
    name = str(dtype.name)
    return _NUMPY_NAMES.get(name, name.lower())


def has_plugins(trt: Any, operators: tuple[str, ...]) -> bool:
    """Whether this process has registered a plugin for each of our operators."""
    registry = trt.get_plugin_registry()
    found = (registry.get_creator(name, PLUGIN_VERSION, PLUGIN_NAMESPACE) for name in operators)
    return all(creator is not None for creator in found)


@functools.cache
def tensorrt_logger(trt: Any) -> Any:
    """The one logger of a module: `recent_errors()` since `clear()`; nothing is printed.

    Warnings go to `logging`, where they stay silent unless somebody listens.
    """

    class CollectingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._errors.append(" ".join(message.split()))
            elif severity == trt.ILogger.Severity.WARNING:
                _LOG.debug("%s", message)

        def clear(self) -> None:
            self._errors.clear()

        def recent_errors(self) -> str:
            return " | ".join(self._errors) or "TensorRT gave no reason"

    return CollectingLogger()
