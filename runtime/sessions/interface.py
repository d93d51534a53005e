"""What every backend offers: one loaded artefact that turns canvases into raw outputs.

The backend seam. `Predictor`, `eval` and `bench` know only this protocol; ONNX Runtime, TensorRT
and the torch checkpoint each implement it in one file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..contract import Contract, Outputs
from ..errors import ContractError, SessionError

DeviceKind = Literal["cpu", "cuda"]
Computes = Literal["fp32", "fp16", "bf16", "int8", "fp8"]


@dataclass(frozen=True)
class Backend:
    """What runs a session, where, and in which precision."""

    runtime: str
    """`torch`, `onnxruntime`, `openvino`, `tensorrt` or `tensorrt-rtx`."""
    device: DeviceKind
    precision: Computes
    """What most of its products are computed in, whatever the file stores."""
    label: str
    """As tables and JSON show it, e.g. "onnxruntime-cpu", "openvino-cpu-int8-bf16"."""
    rest: Computes | None = None
    """What a CPU computes in beside INT8; None says nothing more than `precision`."""

    def __str__(self) -> str:
        return self.label

    @property
    def half_precision(self) -> Computes:
        """What computes a file's FP16 products here; CPUs have none, few have BF16."""
        if self.device == "cuda":
            return "fp16"
        return "bf16" if "bf16" in (self.precision, self.rest) else "fp32"


class OnDevice(Protocol):
    """The device's part of a run alone, for measuring: copies are left out of `execute`."""

    def upload(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> None:
        """Place one batch in the session's device buffers."""
        ...

    def execute(self) -> None:
        """Run on the uploaded batch and return when the device has finished; copies nothing."""
        ...


class Session(Protocol):
    """A loaded model of fixed shapes; a context manager that closes it.

    Threads may share one: `run` waits where it has to.
    """

    contract: Contract
    backend: Backend
    on_device: OnDevice | None
    """None where the session computes in host memory, and once it is closed."""

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width) on each canvas.

        Returns:
            The contract's outputs by name; arrays are the caller's to keep.

        Raises:
            ContractError: wrong shape or dtype.
            SessionError: the session is closed, or its backend failed (its words are quoted).
        """
        ...

    def close(self) -> None:
        """Release what the session holds; it cannot run afterwards. A second call does nothing."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(self, *_: object) -> None: ...


def closed_error(what: object) -> SessionError:
    """The error of a session that was closed before it was asked to run; `what` was opened."""
    return SessionError(
        f"{what}: the session is closed; expected an open one. Open the artefact again."
    )


def check_inputs(
    contract: Contract, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]
) -> None:
    """Check one batch against the contract; every session calls it before it runs.

    Raises:
        ContractError: the artefact lacks an input, an array has another shape or dtype, or a valid
            size is not within 1 x 1 and the canvas.
    """
    specs = {spec.name: spec for spec in contract.inputs}
    for name, array in (("images", images), ("image_sizes", image_sizes)):
        if name not in specs:
            raise ContractError(
                f"{contract.variant}: no input '{name}'; the artefact has {', '.join(specs)}. "
                "Export it again with this version."
            )
        shape, dtype = specs[name].shape, specs[name].dtype
        if array.shape != shape or array.dtype != dtype:
            raise ContractError(
                f"{contract.variant}: input '{name}' got {array.shape} {array.dtype}; expected "
                f"{shape} {dtype}. Use place_on_canvas, which makes both inputs."
            )
    if (image_sizes < 1).any() or (image_sizes > contract.canvas_hw).any():
        raise ContractError(
            f"{contract.variant}: image_sizes are {image_sizes.tolist()}; expected (height, width) "
            f"within 1 x 1 and the canvas {contract.canvas_hw}. Use place_on_canvas."
        )
