"""maskrt: train, export, build, prove and time LSC Mask R-CNN and FastMask on ONNX and TensorRT.

    with maskrt.load("net.onnx") as predictor:
        (instances,) = predictor.predict([maskrt.read_image("street.jpg")])

`load` opens a checkpoint, `.onnx` or `.engine` as a `Predictor`. Each name below is imported when
it is first asked for: `import maskrt` loads nothing. All else is in `maskrt.runtime`,
`maskrt.eval` and `maskrt.workflows`, or `maskrt VERB`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["InputError", "Instances", "Predictor", "__version__", "load", "read_image"]

if TYPE_CHECKING:
    from .runtime.errors import InputError
    from .runtime.pictures.preprocess import read_image
    from .runtime.predictor import Predictor
    from .runtime.results.instances import Instances
    from .workflows.open import load

_MODULES = {
    "InputError": ".runtime.errors",
    "Instances": ".runtime.results.instances",
    "Predictor": ".runtime.predictor",
    "load": ".workflows.open",
    "read_image": ".runtime.pictures.preprocess",
}
"""Where each is defined."""

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(import_module(_MODULES[name], __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
