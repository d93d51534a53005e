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


def load(path: str | Path) -> Predictor:
    """Open any artefact for prediction.

    Args:
        path: a checkpoint (`.safetensors`, its `.yaml` beside it), an `.onnx` file or an `.engine`
            (its `.engine.json` beside it), all made by maskrt.

    Returns:
        A `Predictor`; use it as a context manager to release GPU memory at a known point.

    Raises:
        InputError: no such file, or a suffix maskrt does not know.
        SessionError: the artefact cannot run on this machine; the sentence says what is missing.
    """
    from pathlib import Path

    from .runtime.predictor import Predictor

    path = Path(path)
    if path.suffix == ".safetensors":
        from .train.deployment import TorchSession

        return Predictor(TorchSession(path))
    from .runtime.open import open_artefact

    return Predictor(open_artefact(path))
