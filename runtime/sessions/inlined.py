"""An exported ONNX file with its local functions inlined, for what reads standard operators alone.

Those are OpenVINO's reader, which knows no functions, and TensorRT's refitter, which looks for
weights by the names that a function's constants have where it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SessionError, first_line, pip_line


def inlined_model(path: Path, extra: str) -> Any:
    """The file as an `onnx.ModelProto` without local functions, weights in other files included.

    Args:
        path: an `.onnx` file that maskrt exported.
        extra: of maskrt, which brings the onnx package to who asks.

    Raises:
        SessionError: the onnx package is missing, or the file is no ONNX model or lacks its data.
    """
    try:
        import onnx
        import onnx.inliner
    except ImportError as err:
        raise SessionError(
            f"{path}: the onnx package, which reads it, is not usable ({first_line(err)}). "
            f"{pip_line(extra)}"
        ) from err
    try:
        return onnx.inliner.inline_local_functions(onnx.load(str(path)))
    except Exception as err:  # protobuf's and onnx's errors share no base class
        raise SessionError(
            f"{path}: not a readable ONNX model ({first_line(err)}); expected one exported by "
            "maskrt, its data beside it. Copy both here, or export the checkpoint again."
        ) from err
