"""Any artefact to instances, without torch: contract, sessions, pre- and post-processing.

    picture --read_image--> uint8 RGB --place_on_canvas--> canvas --Session.run--> raw outputs
            --instances_from_outputs--> Instances --masks, to_coco, draw--> the user

Importing this package loads numpy and nothing else; OpenCV, pycocotools, onnxruntime and TensorRT
are imported by the function that needs them.
"""

from .bundle_predictor import BundlePredictor
from .contract import Contract, ResizeRule, TensorSpec, contract_from_json
from .errors import (
    BuildError,
    ConfigError,
    ContractError,
    ExportError,
    GateError,
    InputError,
    MaskRTError,
    SessionError,
)
from .pictures.canvases import choose_canvas
from .pictures.preprocess import place_on_canvas, read_image, scaled_size_hw
from .predictor import Predictor
from .results.instances import Instances
from .results.masks import paste_masks, paste_one
from .results.postprocess import instances_from_outputs
from .results.rle import rle_from_crop
from .sessions.interface import Backend, Session, check_inputs
from .sessions.open import open_artefact
from .sessions.options import SessionOptions
from .tiles.predictor import TiledPredictor

__all__ = [
    "Backend",
    "BuildError",
    "BundlePredictor",
    "ConfigError",
    "Contract",
    "ContractError",
    "ExportError",
    "GateError",
    "InputError",
    "Instances",
    "MaskRTError",
    "Predictor",
    "ResizeRule",
    "Session",
    "SessionError",
    "SessionOptions",
    "TensorSpec",
    "TiledPredictor",
    "check_inputs",
    "choose_canvas",
    "contract_from_json",
    "instances_from_outputs",
    "open_artefact",
    "paste_masks",
    "paste_one",
    "place_on_canvas",
    "read_image",
    "rle_from_crop",
    "scaled_size_hw",
]
