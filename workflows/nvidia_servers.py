"""What `maskrt triton` does: a model as NVIDIA's servers take it."""

from __future__ import annotations

from pathlib import Path

from ..runtime.contract import Contract
from ..serving.triton.repository import TritonModel
from .shipped import named_file


def triton_repository(
    model: str | Path, out: Path, name: str | None = None
) -> tuple[TritonModel, ...]:
    """Write a model into a Triton repository, a bundle as one model for each canvas.

    Args:
        model: an ONNX file, an engine, or a bundle's folder.
        out: the repository; models that are in it stay.
        name: of the model there; None takes the file's own.

    Raises:
        InputError: a file, an engine or a name that Triton cannot take, or a name that is taken.
        SessionError: the file cannot be opened here.
    """
    from ..serving.triton.repository import write_repository

    return write_repository(named_file(Path(model)), out, name)


def deepstream_folder(engine: str | Path, out: Path, frame_hw: tuple[int, int]) -> Contract:
    """Write a folder for DeepStream; returns the engine's contract.

    Args:
        engine: for TensorRT.
        out: a folder that is not there, or empty.
        frame_hw: height and width in pixels of the frames.

    Raises:
        InputError: no such engine, or `out` cannot be written or holds something.
        SessionError: the engine has no sidecar.
    """
    from ..serving.deepstream.folder import write_folder

    return write_folder(Path(engine), out, frame_hw)
