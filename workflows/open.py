"""Open any artefact for prediction: a checkpoint, an `.onnx` file, an `.engine` or a bundle.

Separate from `runtime.sessions.open` because a checkpoint needs `train`, which `runtime` never
imports.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..runtime.bundle import INDEX
from ..runtime.bundle_predictor import BundlePredictor
from ..runtime.errors import InputError
from ..runtime.packages import packages_named
from ..runtime.predictor import Predictor
from ..runtime.sessions.interface import Session
from ..runtime.sessions.open import (
    CHECKPOINT,
    DEFAULTS,
    ModelRef,
    model_from_text,
    open_artefact,
)
from ..runtime.sessions.options import Pictures, SessionOptions
from .shipped import named_file, require_model


def load(
    path: str | Path,
    session: str | None = None,
    *,
    device: str | None = None,
    threads: int | None = None,
    contexts: int = 1,
    cuda_graph: bool = True,
    pictures: Pictures = "auto",
) -> Predictor:
    """Open any artefact for prediction.

    Args:
        path: a checkpoint (`.safetensors`, its `.yaml` beside it), an `.onnx` file or an `.engine`
            (its `.engine.json` beside it), the folder of a bundle of either, all made by maskrt,
            or the name of a shipped checkpoint: "lsc_mask_rcnn_tiny".
            "model.onnx@openvino,threads=4" names session and options too.
        session: what runs it: `torch`, `torch-compile`, `torch-fp16`, `torch-compile-fp16` for a
            checkpoint, `onnxruntime`, `onnxruntime-cpu` (-cuda, -tensorrt, -tensorrt-rtx),
            `openvino` for an ONNX file, `tensorrt` for an engine; None takes the suffix's first.
        device: "cpu", "cuda" (the first GPU) or "cuda:N"; None is the session's own choice.
        threads: CPU threads within one run, for ONNX Runtime and OpenVINO; None is their own
            choice. torch's are the process's: `torch.set_num_threads`.
        contexts: TensorRT: how many batches may run at once, each in GPU memory of its own.
        cuda_graph: TensorRT: record a run as a CUDA graph; False queues it call by call.
        pictures: TensorRT: "gpu" resizes pictures and pastes masks on the GPU, "cpu" on the CPU;
            "auto" is "cpu" until the two were compared on real GPUs. See `Predictor`.

    Returns:
        A `Predictor`; use it as a context manager to release GPU memory at a known point.

    Raises:
        InputError: no such file, a suffix, session or option that maskrt does not know, an option
            that the session cannot obey, options both in `path` and beside it, or a Python package
            that is not installed.
        SessionError: the artefact cannot run on this machine; the sentence says what is missing.
        BuildError: `pictures` is "gpu" and the GPU is too old for the kernels.
        ContractError: its contract is unreadable or of another schema.
    """
    options = SessionOptions(device, threads, contexts, cuda_graph, pictures)
    if session is not None:
        return open_model(model_ref(ModelRef(Path(path), session, options)))
    model = model_ref(path)
    if DEFAULTS not in (model.options, options):
        raise InputError(
            f"{path}: options {options} found beside it; expected them in one place. "
            "Leave one of the two away."
        )
    chosen = options if model.options == DEFAULTS else model.options
    return open_model(ModelRef(model.path, model.session, chosen))


def open_model(model: ModelRef) -> Predictor:
    """Open what a command line named; errors as `load`."""
    with packages_named(str(model)):
        if model.path.name == INDEX:
            return BundlePredictor(
                model.path, lambda file: open_model(dataclasses.replace(model, path=file))
            )
        session = _session(model)
        try:
            return Predictor(session, pictures=model.options.pictures)
        except BaseException:
            session.close()
            raise


def open_server(url: str, model: str, token_file: Path | None = None) -> Predictor:
    """Open a model that a server of the Open Inference Protocol runs: pictures are placed here.

    Args:
        url: of `maskrt serve` or NVIDIA Triton, as "http://127.0.0.1:8000".
        model: its name there.
        token_file: holds the token that the server asks for.

    Raises:
        InputError: no address, or a file without a token.
        SessionError: nobody answers, or there is no such model of maskrt's.
        ContractError: its contract is unreadable or of another schema.
    """
    from ..serving.client.session import RemoteSession
    from ..serving.settings import read_token

    token = None if token_file is None else read_token(token_file)
    session = RemoteSession(url, model, token)
    try:
        return Predictor(session)
    except BaseException:
        session.close()
        raise


def model_ref(model: str | Path | ModelRef) -> ModelRef:
    """A model as it may be named: "FILE@SESSION,NAME=VALUE", or a `ModelRef` already.

    FILE is a path, of a bundle its folder, or a shipped checkpoint's name; session and options may
    be left away. The result's path is a file: of a bundle its index.

    Raises:
        InputError: an option or its value is unknown.
    """
    ref = model if isinstance(model, ModelRef) else model_from_text(model)
    return dataclasses.replace(ref, path=named_file(ref.path))


def _session(model: ModelRef) -> Session:
    require_model(model.path)
    if model.path.suffix == CHECKPOINT:
        from ..train.torch_session import open_checkpoint

        return open_checkpoint(model.path, model.session, model.options)
    return open_artefact(model.path, model.session, model.options)
