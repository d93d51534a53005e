"""A checkpoint made ready to run: its network's deploy form and the contract that describes it.

Both the torch session and export start here, so that the graph that is exported and the graph that
accuracy is compared with are one and the same.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..runtime.contract import Contract, ResizeRule, TensorSpec
from ..runtime.errors import ConfigError
from ..runtime.session import Outputs, check_inputs
from .checkpoint import Checkpoint, load_checkpoint
from .config import Recipe
from .mask_rcnn import STRIDE, DeployMaskRCNN


@dataclass(frozen=True)
class Shapes:
    """The fixed sizes of one artefact; None takes the recipe's value."""

    canvas_hw: tuple[int, int] | None = None
    """Multiples of 16 px."""
    batch: int = 1
    proposals: int | None = None
    detections: int | None = None


@dataclass(frozen=True)
class Deployment:
    """A deploy-form network and its contract (precision fp32)."""

    module: DeployMaskRCNN
    contract: Contract


class TorchSession:
    """A checkpoint as a `Session`: the deploy form run by torch, eagerly, in float32."""

    def __init__(self, path: Path, shapes: Shapes = Shapes()) -> None:
        deployment = deploy(load_checkpoint(path), shapes)
        self.contract = deployment.contract
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._module = deployment.module.to(self._device)
        self.backend = f"torch-{self._device.type}"

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """See `Session.run`."""
        check_inputs(self.contract, images, image_sizes)
        with torch.inference_mode():
            outputs = self._module(
                torch.from_numpy(images).to(self._device),
                torch.from_numpy(image_sizes).to(self._device),
            )
        names = (spec.name for spec in self.contract.outputs)
        return {name: value.cpu().numpy() for name, value in zip(names, outputs, strict=True)}

    def close(self) -> None:
        """Drop the network."""
        del self._module


def deploy(checkpoint: Checkpoint, shapes: Shapes) -> Deployment:
    """The deploy form at fixed `shapes`; the checkpoint's model is folded: do not train it on.

    Raises:
        ConfigError: a canvas that is no multiple of 16, or sizes below 1.
    """
    recipe = checkpoint.recipe
    canvas_hw = shapes.canvas_hw or recipe.input.canvas_hw
    _check(canvas_hw, shapes)
    checkpoint.model.recipe = _with_slots(recipe, shapes)
    module = DeployMaskRCNN(checkpoint.model, canvas_hw).eval()
    return Deployment(module, _contract(checkpoint, canvas_hw, shapes.batch))


def _check(canvas_hw: tuple[int, int], shapes: Shapes) -> None:
    if any(side % STRIDE or side < STRIDE for side in canvas_hw):
        near = tuple(max(STRIDE, -(-side // STRIDE) * STRIDE) for side in canvas_hw)
        raise ConfigError(
            f"--canvas {canvas_hw[0]}x{canvas_hw[1]}: both sides must be multiples of {STRIDE} px. "
            f"Use {near[0]}x{near[1]}."
        )
    for name in ("batch", "proposals", "detections"):
        value = getattr(shapes, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected at least 1.")
    if shapes.proposals is not None and shapes.proposals > 3840:
        raise ConfigError(
            f"--proposals {shapes.proposals}: TensorRT's TopK takes at most 3840. Use fewer."
        )


def _with_slots(recipe: Recipe, shapes: Shapes) -> Recipe:
    proposals, detections = recipe.proposals, recipe.detections
    if shapes.proposals is not None:
        before_nms = max(proposals.pre_nms_test, shapes.proposals)
        proposals = dataclasses.replace(
            proposals, post_nms_test=shapes.proposals, pre_nms_test=before_nms
        )
    if shapes.detections is not None:
        candidates = max(detections.candidates, shapes.detections)
        detections = dataclasses.replace(
            detections, per_image=shapes.detections, candidates=candidates
        )
    return dataclasses.replace(recipe, proposals=proposals, detections=detections)


def _contract(checkpoint: Checkpoint, canvas_hw: tuple[int, int], batch: int) -> Contract:
    recipe = checkpoint.model.recipe
    slots = recipe.detections.per_image
    cells = recipe.model.roi_size if recipe.model.subnet == "light" else recipe.model.roi_size // 2
    return Contract(
        model="mask_rcnn",
        variant=recipe.name,
        task="instances",
        class_names=recipe.class_names,
        canvas_hw=canvas_hw,
        batch=batch,
        resize=ResizeRule(recipe.input.short_side_px, recipe.input.long_side_px),
        channel_order=recipe.input.channel_order,
        mean=recipe.input.mean,
        std=recipe.input.std,
        inputs=(
            TensorSpec("images", (batch, *canvas_hw, 3), "uint8"),
            TensorSpec("image_sizes", (batch, 2), "int32"),
        ),
        outputs=(
            TensorSpec("boxes", (batch, slots, 4), "float32"),
            TensorSpec("scores", (batch, slots), "float32"),
            TensorSpec("labels", (batch, slots), "int32"),
            TensorSpec("masks", (batch, slots, 2 * cells, 2 * cells), "float32"),
            TensorSpec("counts", (batch,), "int32"),
        ),
        precision="fp32",
        operators=("MaskrtRoiAlign",),
        checkpoint_sha256=checkpoint.sha256,
        measured=checkpoint.measured,
        versions={
            "maskrt": importlib.metadata.version("maskrt"),
            "torch": torch.__version__,
        },
    )
