"""Open an artefact as a session, by its suffix.

Each backend is imported only when one of its files is opened.
Checkpoints are opened by `maskrt.load`: they need torch, which this folder never imports.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .files import require_file
from .session import Session


def open_artefact(path: str | Path) -> Session:
    """Open an `.onnx` or `.engine` file made by maskrt.

    Raises:
        InputError: no such file, an empty one, or another suffix.
        SessionError: it cannot be opened on this machine; the sentence says what is missing.
        ContractError: its contract is unreadable or of another schema.
    """
    path = Path(path)
    require_file(path, "an exported or built artefact", tuple(OPENERS))
    return OPENERS[path.suffix.lower()](path)


def _open_onnx(path: Path) -> Session:
    from .ort_session import OrtSession

    return OrtSession(path)


def _open_engine(path: Path) -> Session:
    from .trt_session import TrtSession

    return TrtSession(path)


OPENERS: dict[str, Callable[[Path], Session]] = {".onnx": _open_onnx, ".engine": _open_engine}
