"""Open an artefact as a session: by its suffix, or by the session's name.

    model.onnx              ONNX Runtime on CUDA where it can, else on the CPU
    model.onnx@openvino     the same file in another session: `NAME@SESSION`

Each backend is imported only when one of its files is opened. Checkpoints are opened by
`maskrt.load`: they need torch, which this folder never imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import require_file
from .interface import Session

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Model:
    """A file, and the session to open it in (None: its suffix's own)."""

    path: Path
    session: str | None = None

    def __str__(self) -> str:
        """As a command line writes it."""
        return str(self.path) + (f"@{self.session}" if self.session else "")

    @property
    def name(self) -> str:
        """What tables call it, e.g. "lsc.onnx@openvino"."""
        return self.path.name + (f"@{self.session}" if self.session else "")


def model_from_text(text: str | Path) -> Model:
    """Read "model.onnx" or "model.onnx@openvino"; a file whose own name has an @ is that file."""
    before, at, session = str(text).rpartition("@")
    if not at or Path(text).exists() or "/" in session or "." in session:
        return Model(Path(text))
    return Model(Path(before), session)


def open_artefact(path: str | Path, session: str | None = None) -> Session:
    """Open an `.onnx` or `.engine` file made by maskrt.

    Args:
        path: the file.
        session: one of `SESSIONS[suffix]`; None takes the first of them.

    Raises:
        InputError: no such file, an empty one, another suffix or an unknown session.
        SessionError: it cannot be opened on this machine; the sentence says what is missing.
        ContractError: its contract is unreadable or of another schema.
    """
    path = Path(path)
    require_file(path, "an exported or built artefact", tuple(SESSIONS))
    known = SESSIONS[path.suffix.lower()]
    opener = known[check_session(path, session, tuple(known))]
    return opener(path)


def check_session(path: Path, session: str | None, known: tuple[str, ...]) -> str:
    """The session asked for, or the first that is known.

    Raises:
        InputError: it is not one of `known`.
    """
    if session is not None and session not in known:
        raise InputError(
            f"{path}@{session}: unknown session '{session}'; a {path.suffix} file opens in "
            f"{', '.join(known)}. Choose one of these, or leave '@{session}' away."
        )
    return session or known[0]


def _onnxruntime(provider: str | None) -> Callable[[Path], Session]:
    def open_it(path: Path) -> Session:
        from .ort_session import OrtSession

        return OrtSession(path, provider)

    return open_it


def _openvino(path: Path) -> Session:
    from .openvino_session import OpenVinoSession

    return OpenVinoSession(path)


def _tensorrt(contexts: int = 1, *, cuda_graph: bool = True) -> Callable[[Path], Session]:
    def open_it(path: Path) -> Session:
        from .trt.session import TrtSession

        return TrtSession(path, contexts=contexts, cuda_graph=cuda_graph)

    return open_it


SESSIONS: Mapping[str, Mapping[str, Callable[[Path], Session]]] = {
    ".onnx": {
        "onnxruntime": _onnxruntime(None),
        "onnxruntime-cpu": _onnxruntime("cpu"),
        "onnxruntime-cuda": _onnxruntime("cuda"),
        "onnxruntime-tensorrt": _onnxruntime("tensorrt"),
        "onnxruntime-tensorrt-rtx": _onnxruntime("tensorrt-rtx"),
        "openvino": _openvino,
    },
    ".engine": {
        "tensorrt": _tensorrt(),
        "tensorrt-eager": _tensorrt(cuda_graph=False),
        "tensorrt-4-contexts": _tensorrt(contexts=4),
    },
}
"""By suffix, then by session; the first is what opens without a name."""
