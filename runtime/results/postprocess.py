"""Raw outputs of one batch slot to `Instances` of the original picture.

One function per task, because what the slots mean differs: Mask R-CNN gives `boxes scores labels
masks`, class chosen and suppression done in the graph, and Faster R-CNN the same without masks;
FastMask gives `windows scores masks`, nothing suppressed, and boxes are those of the masks.

Pasting all masks is what proposals cost. Measured on 2 cores, 640x480, windows of a 972x1300 canvas
at strides 16 to 192: 14 ms of CPU time for 100 proposals, 140 ms for 1000 (50 upsampling them, 90
pasting them and counting their runs, which `Instances` keeps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Contract, Outputs
from ..errors import ContractError
from .instances import Instances
from .pasting import Paster


def instances_from_outputs(
    outputs: Outputs,
    index: int,
    image_hw: tuple[int, int],
    valid_hw: tuple[int, int],
    contract: Contract,
    paste: Paster | None = None,
) -> Instances:
    """The instances of batch slot `index`, boxes in pixels of the original picture.

    Boxes and windows are scaled from canvas to picture by W0 / Wn and H0 / Hn. Boxes are clipped
    to the picture, and those left empty are dropped with their masks (Detectron2's
    detector_postprocess). Windows are not clipped; they become the instances' `frames`, and boxes
    are those of the pasted masks.

    Args:
        outputs: scores (B, D) float32, masks (B, D, m, m) float32 in [0, 1], counts (B,) int32,
            and by task boxes (B, D, 4) float32 xyxy canvas pixels and labels (B, D) int32
            (instances; detection, which has no masks) or windows (B, D, 4) float32 xyxy canvas
            pixels (proposals).
        index: 0..B-1.
        image_hw: (H0, W0) of the original picture, in pixels.
        valid_hw: (Hn, Wn) the picture takes on the canvas, as `place_on_canvas` returned it.
        contract: of the artefact that gave the outputs.
        paste: pastes the masks now; None leaves it to the CPU, at the first use of a detection's
            mask and at once for proposals.

    Raises:
        ContractError: an output is missing, a count is above D, or values do not make `Instances`.
    """
    proposes = contract.task == "proposals"
    read = _proposals if proposes else _detections
    found = read(outputs, index, image_hw, valid_hw, contract)
    if paste is not None and found.mask_probs is not None:
        found.paste_by(paste)
    return found.tightened() if proposes else found


def _detections(
    outputs: Outputs,
    index: int,
    image_hw: tuple[int, int],
    valid_hw: tuple[int, int],
    contract: Contract,
) -> Instances:
    masked = ("masks",) if contract.task == "instances" else ()
    slots = _filled_slots(outputs, index, contract, ("boxes", "scores", "labels", *masked))
    boxes = _clipped(_to_picture(slots["boxes"], image_hw, valid_hw), image_hw)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Instances(
        image_hw=image_hw,
        boxes=boxes[keep],
        scores=slots["scores"][keep],
        labels=slots["labels"][keep],
        mask_probs=slots["masks"][keep] if masked else None,
        class_names=contract.class_names,
        category_ids=contract.category_ids,
        mask_threshold=contract.mask_threshold,
        mask_upsampling=contract.mask_upsampling,
    )


def _proposals(
    outputs: Outputs,
    index: int,
    image_hw: tuple[int, int],
    valid_hw: tuple[int, int],
    contract: Contract,
) -> Instances:
    slots = _filled_slots(outputs, index, contract, ("windows", "scores", "masks"))
    windows = _to_picture(slots["windows"], image_hw, valid_hw)
    return Instances(
        image_hw=image_hw,
        boxes=windows,
        scores=slots["scores"],
        labels=np.zeros(len(windows), dtype=np.int32),
        mask_probs=slots["masks"],
        class_names=contract.class_names,
        category_ids=contract.category_ids,
        mask_threshold=contract.mask_threshold,
        mask_upsampling=contract.mask_upsampling,
    )


def _filled_slots(
    outputs: Outputs, index: int, contract: Contract, names: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    """The first counts[index] rows of each per-slot output, copied from the session's arrays."""
    missing = [name for name in (*names, "counts") if name not in outputs]
    if missing:
        raise ContractError(
            f"{contract.variant}: no output {', '.join(missing)} among {', '.join(outputs)}; "
            f"expected {', '.join(names)}, counts. Export the checkpoint again."
        )
    count, slots = int(outputs["counts"][index]), outputs["scores"].shape[1]
    if not 0 <= count <= slots:
        raise ContractError(
            f"{contract.variant}: counts[{index}] is {count}; expected 0..{slots}. The artefact "
            "is broken: export and build it again."
        )
    return {name: outputs[name][index, :count].copy() for name in names}


def _to_picture(
    canvas_px: npt.NDArray[Any], image_hw: tuple[int, int], valid_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Canvas boxes scaled to the original picture."""
    (height, width), (valid_height, valid_width) = image_hw, valid_hw
    x_scale, y_scale = width / valid_width, height / valid_height
    scale = np.array([x_scale, y_scale, x_scale, y_scale], dtype=np.float32)
    return np.asarray(canvas_px.astype(np.float32) * scale, dtype=np.float32)


def _clipped(boxes: npt.NDArray[np.float32], image_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    height, width = image_hw
    limit = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, 0, limit)
