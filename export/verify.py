"""The last step of an export: the same pictures through torch and through ONNX Runtime.

Each detection of one side is looked for on the other: same label, box IoU at least 0.95 (or corners
next to each other: the IoU of a sliver, as untrained networks find them, is a matter of rounding),
score within a tolerance. Proposals come from a fixed grid: the same window, its score and its mask
within the tolerance. At the score threshold and at near-equal scores the two may honestly differ in
what they keep, so what is within the tolerance of the threshold or of the last slot's score may be
missing. An untrained network may detect nothing; then the two must agree on that.

An FP16 file is run twice: as it is, which shows that it loads and computes, and by its emulation,
which rounds activations as a GPU does (emulation.py says why ONNX Runtime's CPU does not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..runtime.contract import Contract, Outputs, Precision
from ..runtime.errors import ExportError
from ..runtime.pictures.preprocess import place_on_canvas
from ..runtime.sessions.ort_session import OrtSession
from ..train.deploy.deployment import Deployment
from .precision.emulation import emulated_file

SCORE_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2, "int8": 5e-2}
"""FP32: sums in another order. FP16: 11 bits through some fifty layers. INT8: 8 bits."""
WANTED_SHARE = {"fp32": 0.99, "fp16": 0.9, "int8": 0.6}
"""INT8 moves boxes by pixels: LSC tiny keeps 0.79; with ranges four times too wide, 0.2."""
BOX_IOU = 0.95
CORNER_PX = {"fp32": 0.1, "fp16": 1.0, "int8": 2.0}
SAME_WINDOW_PX = 1e-2
"""Windows are constants of the graph, many px apart."""


@dataclass(frozen=True)
class Verification:
    """How far ONNX Runtime and torch agreed on one picture per canvas of the batch."""

    asked: int
    """Detections looked for, both directions together."""
    found: int


def verify(
    deployment: Deployment,
    path: Path,
    precision: Precision,
    name: str,
    pictures: Sequence[npt.NDArray[np.uint8]],
) -> Verification:
    """Compare the ONNX file at `path` with its network.

    Args:
        deployment: the network.
        path: its ONNX file.
        precision: of the file.
        name: stands for the file in errors.
        pictures: (H, W, 3) uint8 RGB, one for each canvas of the batch.

    Returns:
        What was compared; of an fp16 file, its emulation with every FP16 value rounded.

    Raises:
        ExportError: outputs are not finite or the two do not agree.
    """
    contract = deployment.contract
    images, sizes = place_on_canvas(pictures, contract)
    with torch.inference_mode():
        values = deployment.module(torch.from_numpy(images), torch.from_numpy(sizes))
    names = (spec.name for spec in contract.outputs)
    wanted = {n: v.numpy() for n, v in zip(names, values, strict=True)}
    result = _agreement(wanted, _run(path, images, sizes), precision, contract, name)
    if precision == "fp16":
        name = f"{name}, activations rounded to half"
        with emulated_file(path) as emulated:
            found = _run(emulated, images, sizes)
        result = _agreement(wanted, found, precision, contract, name)
    return result


def _run(path: Path, images: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int32]) -> Outputs:
    session = OrtSession(path)
    try:
        return session.run(images, sizes)
    finally:
        session.close()


def _agreement(
    wanted: Outputs, found: Outputs, precision: Precision, contract: Contract, name: str
) -> Verification:
    """How far two runs agree; ExportError where that is not enough."""
    _check_finite(found, name)
    result = compare_outputs(wanted, found, precision, contract)
    if result.found < WANTED_SHARE[precision] * result.asked:
        raise ExportError(
            f"{name}: ONNX Runtime gives {result.found} of {result.asked} {contract.task} that "
            f"torch gives; expected {WANTED_SHARE[precision]:.0%}. The file was not kept: report "
            "it, or export with --precision fp32."
        )
    return result


def _check_finite(outputs: Outputs, name: str) -> None:
    for key, value in outputs.items():
        if not np.isfinite(value).all():
            raise ExportError(
                f"{name}: output '{key}' holds NaN or infinite values in ONNX Runtime; expected "
                "finite numbers. The file was not kept: export with --precision fp32."
            )


def compare_outputs(
    first: Outputs, second: Outputs, precision: Precision, contract: Contract
) -> Verification:
    """Look for each detection or proposal of one run in the other, both directions.

    Args:
        first: outputs of the contract's shapes.
        second: the same of another run on the same pictures.
        precision: whose tolerances apply.
        contract: of both.

    """
    asked = found = 0
    tolerance = SCORE_TOLERANCE[precision]
    for image in range(contract.batch):
        for a, b in ((first, second), (second, first)):
            count, other = int(a["counts"][image]), int(b["counts"][image])
            slots = a["scores"].shape[1]
            floor = a["scores"][image, count - 1] + tolerance if count else 0.0
            for slot in range(count):
                same = _has(a, b, image, slot, other, precision)
                marginal = a["scores"][image, slot] < floor and (count == slots or other != count)
                if marginal and not same and not _has_window(a, b, image, slot, other):
                    continue
                asked += 1
                found += same
    return Verification(asked, found)


def _has(a: Outputs, b: Outputs, image: int, slot: int, count: int, precision: Precision) -> bool:
    """Whether `b` holds detection or proposal `slot` of `a`."""
    tolerance = SCORE_TOLERANCE[precision]
    close = np.abs(b["scores"][image, :count] - a["scores"][image, slot]) <= tolerance
    if "windows" in a:
        mask = np.abs(b["masks"][image, :count] - a["masks"][image, slot]).mean(axis=(1, 2))
        same = _same_windows(a, b, image, slot, count) & (mask <= tolerance)
        return bool((same & close).any())
    same = b["labels"][image, :count] == a["labels"][image, slot]
    box, boxes = a["boxes"][image, slot], b["boxes"][image, :count]
    near = np.abs(boxes - box).max(axis=1, initial=0.0) <= CORNER_PX[precision]
    return bool((same & close & (near | (_iou(box, boxes) >= BOX_IOU))).any())


def _has_window(a: Outputs, b: Outputs, image: int, slot: int, count: int) -> bool:
    """Whether `b` holds the window of proposal `slot` of `a`, which then has to agree."""
    return "windows" in a and bool(_same_windows(a, b, image, slot, count).any())


def _same_windows(
    a: Outputs, b: Outputs, image: int, slot: int, count: int
) -> npt.NDArray[np.bool_]:
    away = np.abs(b["windows"][image, :count] - a["windows"][image, slot]).max(axis=1)
    return np.asarray(away <= SAME_WINDOW_PX)


def _iou(box: npt.NDArray[np.generic], boxes: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """(4,) and (N, 4) -> (N,)."""
    one, many = box.astype(np.float64), boxes.astype(np.float64)
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - inter
    return np.asarray(inter / np.maximum(union, 1e-9))
