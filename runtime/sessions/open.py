"""Open an artefact as a session: by its suffix, or by the session's name, with options.

    model.onnx                          ONNX Runtime on CUDA where it can, else on the CPU
    model.onnx@openvino                 the same file in another session
    model.onnx@openvino,threads=4       with options (`SessionOptions`)
    model.engine@contexts=4             in the suffix's own session

Each backend is imported only when one of its files is opened. Checkpoints are opened by
`maskrt.load`: they need torch, which this folder never imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bundle import name_of
from ..errors import InputError
from ..files import require_file
from .interface import Session
from .options import SessionOptions, options_from_words

CHECKPOINT = ".safetensors"
DEFAULTS = SessionOptions()

Opener = Callable[[Path, SessionOptions], Session]


@dataclass(frozen=True)
class ModelRef:
    """What names a model to open: a file, perhaps a session (None: its suffix's own), options."""

    path: Path
    session: str | None = None
    options: SessionOptions = DEFAULTS

    def __str__(self) -> str:
        """As a command line writes it."""
        return str(self.path) + self._after_path()

    @property
    def name(self) -> str:
        """What tables call it, e.g. "lsc.onnx@openvino"."""
        return name_of(self.path) + self._after_path()

    def _after_path(self) -> str:
        words = ",".join(filter(None, (self.session, str(self.options))))
        return f"@{words}" if words else ""


def model_from_text(text: str | Path) -> ModelRef:
    """Read `FILE[@SESSION][,NAME=VALUE...]`; a file whose own name has an @ is that file.

    Raises:
        InputError: an option or its value is unknown.
    """
    before, at, after = str(text).rpartition("@")
    if not at or Path(text).exists() or "/" in after or "." in after:
        return ModelRef(Path(text))
    first, *rest = after.split(",")
    session, words = (None, [first, *rest]) if "=" in first else (first, rest)
    return ModelRef(Path(before), session, options_from_words(words, str(text)))


def open_artefact(
    path: str | Path, session: str | None = None, options: SessionOptions = DEFAULTS
) -> Session:
    """Open an `.onnx` or `.engine` file made by maskrt.

    Args:
        path: the file.
        session: one of `SESSIONS[suffix]`; None takes the first of them.
        options: device, threads and the like.

    Raises:
        InputError: no such file, an empty one, another suffix, an unknown session, an option that
            the session cannot obey, or a file that maskrt did not make.
        SessionError: it cannot be opened on this machine; the sentence says what is missing.
        ContractError: its contract is unreadable or of another schema.
    """
    path = Path(path)
    require_file(path, "an exported or built artefact", tuple(SESSIONS))
    known = SESSIONS[path.suffix.lower()]
    opener = known[check_session(path, session, tuple(known))]
    return opener(path, options)


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


def _onnxruntime(provider: str | None) -> Opener:
    def open_it(path: Path, options: SessionOptions) -> Session:
        from .ort_session import OrtSession

        devices = {None: ("cpu", "cuda"), "cpu": ("cpu",)}.get(provider, ("cuda",))
        options.require_obeyed(str(path), ("threads",), devices)
        asked = provider or options.device_kind
        return OrtSession(path, asked, options.threads, device_index=options.device_index)

    return open_it


def _integers(path: Path, options: SessionOptions) -> Session:
    from .integers.session import open_in_integers

    options.require_obeyed(str(path), ("threads",), ("cpu",))
    return open_in_integers(path, options.threads)


def _openvino(path: Path, options: SessionOptions) -> Session:
    from .openvino_session import OpenVinoSession

    options.require_obeyed(str(path), ("threads",), ("cpu",))
    return OpenVinoSession(path, options.threads)


def _tensorrt(path: Path, options: SessionOptions) -> Session:
    from .trt.session import TrtSession

    options.require_obeyed(str(path), ("contexts", "cuda_graph", "pictures"), ("cuda",))
    return TrtSession(
        path,
        options.device_index,
        contexts=options.contexts,
        cuda_graph=options.cuda_graph,
    )


SESSIONS: Mapping[str, Mapping[str, Opener]] = {
    ".onnx": {
        "onnxruntime": _onnxruntime(None),
        "onnxruntime-cpu": _onnxruntime("cpu"),
        "onnxruntime-int8": _integers,
        "onnxruntime-cuda": _onnxruntime("cuda"),
        "onnxruntime-tensorrt": _onnxruntime("tensorrt"),
        "onnxruntime-tensorrt-rtx": _onnxruntime("tensorrt-rtx"),
        "openvino": _openvino,
    },
    ".engine": {"tensorrt": _tensorrt},
}
"""By suffix, then by session; the first is what opens without a name."""
