"""A checkpoint made ready to run: its network's deploy form and the contract that describes it.

Both the torch session and export start here, so that the graph that is exported and the graph that
accuracy is compared with are one and the same.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch

from ... import __version__
from ...runtime.contract import Contract, ResizeRule, Task, TensorSpec
from ...runtime.errors import ConfigError
from ..networks.mask_rcnn import STRIDE, MaskRCNN
from ..networks.pyramid.fpn import PADDING_PX
from ..networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from ..recipes.fastmask import FastMaskRecipe
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ..recipes.recipe import Recipe
from ..weights.checkpoint import Checkpoint
from .fastmask import DeployFastMask
from .mask_rcnn import DeployMaskRCNN
from .mask_rcnn_fpn import DeployMaskRCNNFPN


@dataclass(frozen=True)
class Shapes:
    """The fixed sizes of one artefact; None takes the recipe's value."""

    canvas_hw: tuple[int, int] | None = None
    """Multiples of 16 px for Mask R-CNN C4, of 32 for FPN, of 4 for FastMask."""
    batch: int = 1
    proposals: int | None = None
    """Mask R-CNN: RoIs after NMS; FastMask: proposals that come out."""
    detections: int | None = None
    """Mask R-CNN only."""


@dataclass(frozen=True)
class Deployment:
    """A deploy-form network and its contract (precision fp32)."""

    module: DeployMaskRCNN | DeployMaskRCNNFPN | DeployFastMask
    contract: Contract


def deploy(checkpoint: Checkpoint, shapes: Shapes) -> Deployment:
    """The deploy form at fixed `shapes`, made of a copy of the checkpoint's network.

    Raises:
        ConfigError: a canvas that is no multiple of the network's, or sizes below 1.
    """
    model = checkpoint.model
    canvas_hw = shapes.canvas_hw or checkpoint.recipe.input.canvas_hw
    _check(checkpoint.recipe, canvas_hw, shapes)
    if isinstance(model, MaskRCNN):
        recipe = _with_slots(model.recipe, shapes)
        c4 = DeployMaskRCNN(model, canvas_hw, recipe.proposals, recipe.detections).eval()
        return Deployment(c4, _detector_contract(checkpoint, recipe, canvas_hw, shapes.batch))
    if isinstance(model, MaskRCNNFPN):
        pyramid = _with_slots(model.recipe, shapes)
        fpn = DeployMaskRCNNFPN(model, canvas_hw, pyramid.proposals, pyramid.detections).eval()
        return Deployment(fpn, _detector_contract(checkpoint, pyramid, canvas_hw, shapes.batch))
    slots = shapes.proposals or model.recipe.windows.per_image
    proposer = DeployFastMask(model, canvas_hw, slots).eval()
    return Deployment(proposer, _fastmask_contract(checkpoint, proposer, canvas_hw, shapes.batch))


def canvas_multiple(recipe: Recipe) -> int:
    """What both sides of a canvas are multiples of, in pixels."""
    if isinstance(recipe, FastMaskRecipe):
        return recipe.input.multiple_px
    return STRIDE if isinstance(recipe, MaskRCNNRecipe) else PADDING_PX


def _check(recipe: Recipe, canvas_hw: tuple[int, int], shapes: Shapes) -> None:
    multiple = canvas_multiple(recipe)
    least = max(multiple, STRIDE)
    if any(side % multiple or side < STRIDE for side in canvas_hw):
        near = tuple(max(least, -(-side // multiple) * multiple) for side in canvas_hw)
        raise ConfigError(
            f"--canvas {canvas_hw[0]}x{canvas_hw[1]}: both sides must be multiples of {multiple} "
            f"px, {least} or more. Use {near[0]}x{near[1]}."
        )
    for name in ("batch", "proposals", "detections"):
        value = getattr(shapes, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected at least 1.")
    if shapes.proposals is not None and shapes.proposals > 3840:
        raise ConfigError(
            f"--proposals {shapes.proposals}: TensorRT's TopK takes at most 3840. Use fewer."
        )
    if shapes.detections is not None and isinstance(recipe, FastMaskRecipe):
        raise ConfigError(
            f"--detections {shapes.detections}: {recipe.name} gives proposals, not detections. "
            "Use --proposals."
        )


Detector = TypeVar("Detector", MaskRCNNRecipe, MaskRCNNFPNRecipe)


def _with_slots(recipe: Detector, shapes: Shapes) -> Detector:
    """The recipe with the proposals and detections that `shapes` asks for."""
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


def _detector_contract(
    checkpoint: Checkpoint,
    recipe: MaskRCNNRecipe | MaskRCNNFPNRecipe,
    canvas_hw: tuple[int, int],
    batch: int,
) -> Contract:
    slots, side = recipe.detections.per_image, 2 * _mask_cells(recipe)
    masks = (TensorSpec("masks", (batch, slots, side, side), "float32"),)
    outputs = (
        TensorSpec("boxes", (batch, slots, 4), "float32"),
        TensorSpec("scores", (batch, slots), "float32"),
        TensorSpec("labels", (batch, slots), "int32"),
        *(masks if recipe.model.mask else ()),
        TensorSpec("counts", (batch,), "int32"),
    )
    task: Task = "instances" if recipe.model.mask else "detection"
    c4 = isinstance(recipe, MaskRCNNRecipe)
    operator = "MaskrtRoiAlign" if c4 else "MaskrtPyramidRoiAlign"
    contract = _contract(checkpoint, canvas_hw, batch, task, outputs, operator)
    return dataclasses.replace(contract, mask_threshold=0.5, mask_upsampling=1)


def _mask_cells(recipe: MaskRCNNRecipe | MaskRCNNFPNRecipe) -> int:
    """Cells per side of what the deconvolution of the mask branch doubles."""
    if isinstance(recipe, MaskRCNNFPNRecipe):
        return recipe.model.mask_cells
    return recipe.model.roi_size if recipe.model.subnet == "light" else recipe.model.roi_size // 2


def _fastmask_contract(
    checkpoint: Checkpoint, module: DeployFastMask, canvas_hw: tuple[int, int], batch: int
) -> Contract:
    slots, cells = module.slots, module.model.head.cells
    outputs = (
        TensorSpec("windows", (batch, slots, 4), "float32"),
        TensorSpec("scores", (batch, slots), "float32"),
        TensorSpec("masks", (batch, slots, cells, cells), "float32"),
        TensorSpec("counts", (batch,), "int32"),
    )
    contract = _contract(checkpoint, canvas_hw, batch, "proposals", outputs, "MaskrtWindowAlign")
    # as published: 40 x 40 cells become 160 x 160 before they are cut at 0.2
    return dataclasses.replace(contract, mask_threshold=0.2, mask_upsampling=4)


def _contract(
    checkpoint: Checkpoint,
    canvas_hw: tuple[int, int],
    batch: int,
    task: Task,
    outputs: tuple[TensorSpec, ...],
    operator: str,
) -> Contract:
    recipe, source = checkpoint.recipe, checkpoint.recipe.input
    return Contract(
        model=recipe.family,
        variant=recipe.name,
        task=task,
        class_names=recipe.class_names,
        category_ids=checkpoint.category_ids,
        canvas_hw=canvas_hw,
        batch=batch,
        resize=ResizeRule(source.short_side_px, source.long_side_px, source.multiple_px),
        channel_order=source.channel_order,
        mean=source.mean,
        std=source.std,
        inputs=(
            TensorSpec("images", (batch, *canvas_hw, 3), "uint8"),
            TensorSpec("image_sizes", (batch, 2), "int32"),
        ),
        outputs=outputs,
        precision="fp32",
        operators=(operator,),
        checkpoint_sha256=checkpoint.sha256,
        measured=checkpoint.measured,
        origin=checkpoint.origin,
        versions={
            "maskrt": __version__,
            "torch": torch.__version__,
        },
    )
