"""maskrt: train, export, build, prove and time LSC Mask R-CNN and FastMask on ONNX and TensorRT.

`load(path)` opens a checkpoint, `.onnx` or `.engine` as a `Predictor`; everything else is `maskrt
VERB`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from pathlib import Path

    from .runtime.predictor import Predictor


def load(path: str | Path, session: str | None = None) -> Predictor:
    """Open any artefact for prediction.

    Args:
        path: a checkpoint (`.safetensors`, its `.yaml` beside it), an `.onnx` file or an `.engine`
            (its `.engine.json` beside it), all made by maskrt. "model.onnx@openvino" names the
            session too.
        session: what runs it: `torch`, `torch-compile`, `torch-fp16` for a checkpoint,
            `onnxruntime`, `onnxruntime-cpu` (-cuda, -tensorrt, -tensorrt-rtx), `openvino` for an
            ONNX file; None takes the suffix's first.

    Returns:
        A `Predictor`; use it as a context manager to release GPU memory at a known point.

    Raises:
        InputError: no such file, or a suffix or session that maskrt does not know.
        SessionError: the artefact cannot run on this machine; the sentence says what is missing.
    """
    from pathlib import Path

    from .runtime.predictor import Predictor
    from .runtime.sessions.open import CHECKPOINT, model_from_text, open_artefact

    if session is None:
        model = model_from_text(path)
        path, session = model.path, model.session
    path = Path(path)
    if path.suffix == CHECKPOINT:
        from .train.torch_session import open_checkpoint

        return Predictor(open_checkpoint(path, session))
    if path.suffix.lower() == ".engine":
        # `runtime` may not import `engines`, and TensorRT-RTX looks plugins up in this process.
        from .engines.plugins.registration import register_for_engine

        register_for_engine(path)
    return Predictor(open_artefact(path, session))
