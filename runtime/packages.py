"""What Python's "No module named ..." means here: which extra of maskrt brings the package.

Packages are imported where they are needed, so any call may find one missing. Whoever starts the
work wraps it in `packages_named`; only ONNX Runtime, OpenVINO, TensorRT and CUDA, whose absence has
other ways out, have sentences of their own beside their one import.
"""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterator
from contextvars import ContextVar

from .errors import InputError, first_line, pip_line

EXTRAS: dict[str, tuple[str, ...]] = {
    "cv2": ("",),
    "fastapi": ("serve",),
    "jinja2": ("report", "demo"),
    "matplotlib": ("report", "demo"),
    "numpy": ("",),
    "onnx": ("cpu", "engines", "export", "openvino", "gpu", "onnxruntime-gpu", "demo"),
    "onnxscript": ("export", "demo"),
    "prometheus_client": ("serve",),
    "pyarrow": ("shards", "ray"),
    "pycocotools": (*("cpu", "train", "openvino", "gpu", "onnxruntime-gpu", "demo", "serve"),),
    "python_multipart": ("serve",),
    "ray": ("ray",),
    "rich": (*("cpu", "engines", "export", "train", "openvino", "gpu", "onnxruntime-gpu", "demo"),),
    "safetensors": ("train", "export", "demo"),
    "tensorboard": ("tensorboard",),
    "starlette": ("serve",),
    "torch": ("train", "export", "demo"),
    "uvicorn": ("serve",),
    "yaml": (*("cpu", "train", "export", "openvino", "gpu", "onnxruntime-gpu", "demo"),),
}
"""By the name that is imported; the first is proposed where the work names none that has it."""

TRAINING_PYTHON = (3, 11)
"""Training and export need it; all that opens, builds, runs and measures artefacts needs 3.10."""
NEWER_ONLY = ("torch", "onnxscript")
"""What the extras bring from `TRAINING_PYTHON` on only."""

_inside = ContextVar("_inside", default=False)


@contextlib.contextmanager
def packages_named(where: str, extra: str = "") -> Iterator[None]:
    """Turn a missing package into the sentence that says how to install it.

    Of blocks in each other the outermost speaks: it knows best what all of the work needs.

    Args:
        where: what is being done, for the sentence; "" where its reader is told anyway.
        extra: of maskrt, that brings all that the work needs; proposed where it has the package.

    Raises:
        InputError: a package of `EXTRAS` is not installed or does not load.
    """
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        yield
    except ImportError as err:
        package = (err.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        if package in NEWER_ONLY:
            require_training_python()
        raise _missing(where, package, extra, err) from err
    finally:
        _inside.reset(token)


def python_trains() -> bool:
    """Whether this Python is new enough to train and export."""
    return sys.version_info[:2] >= TRAINING_PYTHON


def require_training_python() -> None:
    """Refuse to train or export under a Python that only builds and runs artefacts.

    Raises:
        InputError: this Python is older than `TRAINING_PYTHON`.
    """
    if not python_trains():
        needed = ".".join(map(str, TRAINING_PYTHON))
        raise InputError(
            f"{sys.executable}: Python {platform.python_version()} found; training, export and "
            f"checkpoints need {needed} or later. Do this with a newer Python and bring the ONNX "
            "file here, where it runs and engines are built."
        )


def _missing(where: str, package: str, extra: str, err: ImportError) -> InputError:
    gone = isinstance(err, ModuleNotFoundError)
    found = "is not installed" if gone else f"does not load ({first_line(err)})"
    proposed = extra if extra in EXTRAS[package] else EXTRAS[package][0]
    return InputError(
        f"{where and f'{where}: '}the Python package {package} {found}; expected it for this. "
        f"{pip_line(proposed)}"
    )
