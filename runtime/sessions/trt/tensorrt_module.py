"""TensorRT's Python modules behind one import: `tensorrt`, `tensorrt_lean`, `tensorrt_rtx`.

They have the same classes under another module name, so engines and sessions take the module as a
value; the lean runtime lacks all that builds. It is imported here only, with the pip line where it
is missing. Its logger is here too: TensorRT keeps the first logger it is given for the life of the
process, hence one per module.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections import deque
from typing import Any, Literal

from ...errors import SessionError, pip_line

TensorRTName = Literal["tensorrt", "tensorrt-rtx"]
MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
LEAN = "tensorrt_lean"
EXTRAS: dict[str, str] = {"tensorrt": "gpu", "tensorrt-rtx": "engines"}

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
    return _imported(name, MODULES[name], EXTRAS[name])


def import_runtime(name: str) -> Any:
    """The Python module that opens engines of a TensorRT product.

    That is the product's own or, where `tensorrt` is not installed, its lean runtime.

    Raises:
        SessionError: as `import_tensorrt`.
    """
    try:
        return import_tensorrt(name)
    except SessionError as err:
        missing = name == "tensorrt" and isinstance(err.__cause__, ModuleNotFoundError)
        if not missing or importlib.util.find_spec(LEAN) is None:
            raise
    return import_lean()


def import_lean() -> Any:
    """The Python module of TensorRT's lean runtime; errors as `import_tensorrt`."""
    return _imported("tensorrt-lean", LEAN, "lean")


def _imported(product: str, module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        found = "is not installed" if err.name == module else f"lacks '{err.name}'"
        raise SessionError(f"{product}: the Python package {found}. {pip_line(extra)}") from err
    except (ImportError, OSError, RuntimeError) as err:
        raise SessionError(
            f"{product}: the installed package does not load ({err}); expected its libraries "
            f"beside it. {pip_line(extra)}"
        ) from err


def is_lean(trt: Any) -> bool:
    """Whether a module is the lean runtime, which opens version-compatible engines alone."""
    return getattr(trt, "__name__", "") == LEAN


def numpy_name(dtype: Any) -> str:
    """The numpy name of a `trt.DataType`, or TensorRT's own in lower case where numpy has none."""
    name = str(dtype.name)
    return _NUMPY_NAMES.get(name, name.lower())


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
