"""The last step of an export: the same pictures through torch and through ONNX Runtime.

Each detection of one side is looked for on the other: same label, box IoU at least 0.95 (or corners
next to each other: the IoU of a sliver, as untrained networks find them, is a matter of rounding),
score within a tolerance. Proposals come from a fixed grid: the same window, its score and its mask
within the tolerance. At the score threshold and at near-equal scores the two may honestly differ in
what they keep, so what is within the tolerance of the threshold or of the last slot's score may be
missing. An untrained network may detect nothing; then the two must agree on that.

A file of lower precision is run twice: as it is, which shows that it loads and computes, and by its
emulation, which rounds as a GPU does (emulation.py says why ONNX Runtime's CPU does not).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..runtime.contract import Contract, Outputs, Precision
from ..runtime.errors import ExportError
from ..runtime.pictures.preprocess import place_on_canvas
from ..runtime.results.finite import where_not_finite
from ..runtime.sessions.ort_session import OrtSession
from ..train.deploy.deployment import Deployment
from .precision.emulation import emulated_file

SCORE_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2, "int8": 5e-2, "fp8": 5e-2}
"""FP32: sums in another order. FP16: 11 bits through some fifty layers. INT8: 8 bits. FP8: 4."""
WANTED_SHARE = {"fp32": 0.99, "fp16": 0.9, "int8": 0.6, "fp8": 0.3}
"""INT8 moves boxes by pixels: LSC tiny keeps 0.79; with ranges four times too wide, 0.2."""
BOX_IOU = 0.95
CORNER_PX = {"fp32": 0.1, "fp16": 1.0, "int8": 2.0, "fp8": 4.0}
SAME_WINDOW_PX = 1e-2
"""Windows are constants of the graph, many px apart."""


@dataclass(frozen=True)
class Verification:
    """How far ONNX Runtime and torch agreed on some pictures."""

    asked: int
    """Detections looked for, both directions together; 0 where neither side found any."""
    found: int
    pictures: int
    """They were looked for on so many."""


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
        pictures: (H, W, 3) uint8 RGB, any number.

    Returns:
        What was compared; of any other than an fp32 file, its emulation.

    Raises:
        ExportError: outputs are not finite or the two do not agree.
    """
    contract = deployment.contract
    batches = list(_batches(pictures, contract))
    wanted = [_run_torch(deployment, batch) for batch in batches]
    result = _agreement(wanted, _run(path, batches), precision, contract, name)
    if precision != "fp32":
        name = f"{name}, rounded as a GPU does"
        with emulated_file(path) as emulated:
            found = _run(emulated, batches)
        result = _agreement(wanted, found, precision, contract, name)
    return result


@dataclass(frozen=True)
class _Batch:
    """Inputs of one run; the canvases past `used` are empty."""

    images: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]
    used: int

    def of_pictures(self, outputs: Outputs) -> Outputs:
        """Without what empty canvases give."""
        return {name: value[: self.used] for name, value in outputs.items()}


def _batches(pictures: Sequence[npt.NDArray[np.uint8]], contract: Contract) -> Iterator[_Batch]:
    for start in range(0, len(pictures), contract.batch):
        part = pictures[start : start + contract.batch]
        yield _Batch(*place_on_canvas(part, contract), len(part))


def _run_torch(deployment: Deployment, batch: _Batch) -> Outputs:
    with torch.inference_mode():
        values = deployment.module(torch.from_numpy(batch.images), torch.from_numpy(batch.sizes))
    names = (spec.name for spec in deployment.contract.outputs)
    return batch.of_pictures({n: v.numpy() for n, v in zip(names, values, strict=True)})


def _run(path: Path, batches: Sequence[_Batch]) -> list[Outputs]:
    with OrtSession(path) as session:
        return [batch.of_pictures(session.run(batch.images, batch.sizes)) for batch in batches]


def _agreement(
    wanted: Sequence[Outputs],
    found: Sequence[Outputs],
    precision: Precision,
    contract: Contract,
    name: str,
) -> Verification:
    """How far two runs agree; ExportError where that is not enough."""
    _check_finite(found, name)
    parts = [compare_outputs(a, b, precision) for a, b in zip(wanted, found, strict=True)]
    asked, same = sum(part.asked for part in parts), sum(part.found for part in parts)
    if same < WANTED_SHARE[precision] * asked:
        raise ExportError(
            f"{name}: ONNX Runtime gives {same} of {asked} {contract.gives} that "
            f"torch gives; expected {WANTED_SHARE[precision]:.0%}. The file was not kept: report "
            "it, or export with --precision fp32."
        )
    return Verification(asked, same, sum(part.pictures for part in parts))


def _check_finite(found: Sequence[Outputs], name: str) -> None:
    places = filter(None, map(where_not_finite, found))
    if place := next(places, None):
        raise ExportError(
            f"{name}: {place} in ONNX Runtime; expected finite numbers. The file was not kept: "
            "export with --precision fp32."
        )


def compare_outputs(first: Outputs, second: Outputs, precision: Precision) -> Verification:
    """Look for each detection or proposal of one run in the other, both directions.

    Args:
        first: outputs of a contract's shapes, of one or more pictures.
        second: the same of another run on the same pictures.
        precision: whose tolerances apply.

    """
    asked = found = 0
    tolerance = SCORE_TOLERANCE[precision]
    pictures = len(first["counts"])
    for image in range(pictures):
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
    return Verification(asked, found, pictures)


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
