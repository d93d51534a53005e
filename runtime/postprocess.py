"""Raw outputs of one batch slot to `Instances` of the original picture.

One function per task, because what the slots mean differs: Mask R-CNN gives `boxes scores labels
masks`, class chosen and suppression done in the graph. Proposals (windows of FastMask) will be a
second function beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .contract import Contract
from .errors import ContractError
from .instances import Instances
from .session import Outputs


def instances_from_outputs(
    outputs: Outputs,
    index: int,
    image_hw: tuple[int, int],
    valid_hw: tuple[int, int],
    contract: Contract,
) -> Instances:
    """The instances of batch slot `index`, boxes in pixels of the original picture.

    Boxes are scaled from canvas to picture by W0 / Wn and H0 / Hn, clipped to the picture, and
    those left empty are dropped with their masks (Detectron2's detector_postprocess).

    Args:
        outputs: boxes (B, D, 4) float32 xyxy canvas pixels, scores (B, D) float32, labels (B, D)
            int32, masks (B, D, m, m) float32 in [0, 1], counts (B,) int32.
        index: 0..B-1.
        image_hw: (H0, W0) of the original picture, in pixels.
        valid_hw: (Hn, Wn) the picture takes on the canvas, as `place_on_canvas` returned it.
        contract: of the artefact that gave the outputs; task `instances`.

    Raises:
        ContractError: another task, an output missing, a count above D, or numbers that are not
            finite.
    """
    if contract.task != "instances":
        raise ContractError(
            f"{contract.variant}: its task is '{contract.task}'; instances_from_outputs reads "
            "'instances'. Open a Mask R-CNN artefact."
        )
    slots = _filled_slots(outputs, index, contract)
    boxes = _to_picture(slots["boxes"], image_hw, valid_hw)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Instances(
        image_hw=image_hw,
        boxes=boxes[keep],
        scores=slots["scores"][keep],
        labels=slots["labels"][keep],
        mask_probs=slots["masks"][keep],
        class_names=contract.class_names,
    )


def _filled_slots(outputs: Outputs, index: int, contract: Contract) -> dict[str, npt.NDArray[Any]]:
    """The first counts[index] rows of each per-slot output, copied from the session's arrays."""
    names = ("boxes", "scores", "labels", "masks", "counts")
    missing = [name for name in names if name not in outputs]
    if missing:
        raise ContractError(
            f"{contract.variant}: no output {', '.join(missing)} among {', '.join(outputs)}; "
            f"expected {', '.join(names)}. Export the checkpoint again."
        )
    count, slots = int(outputs["counts"][index]), outputs["boxes"].shape[1]
    if not 0 <= count <= slots:
        raise ContractError(
            f"{contract.variant}: counts[{index}] is {count}; expected 0..{slots}. The artefact "
            "is broken: export and build it again."
        )
    return {name: outputs[name][index, :count].copy() for name in names[:-1]}


def _to_picture(
    boxes: npt.NDArray[Any], image_hw: tuple[int, int], valid_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Canvas boxes scaled to the original picture and clipped to it."""
    if not np.isfinite(boxes).all():
        raise ContractError(
            "boxes: the artefact gave NaN or infinity; expected finite canvas pixels. "
            "If it is FP16, export it in FP32 and compare."
        )
    (height, width), (valid_height, valid_width) = image_hw, valid_hw
    x_scale, y_scale = width / valid_width, height / valid_height
    scale = np.array([x_scale, y_scale, x_scale, y_scale], dtype=np.float32)
    limit = np.array([width, height, width, height], dtype=np.float32)
    clipped: npt.NDArray[np.float32] = np.clip(boxes.astype(np.float32) * scale, 0, limit)
    return clipped
