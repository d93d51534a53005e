"""What every backend offers: one loaded artefact that turns canvases into raw outputs.

The backend seam. `Predictor`, `eval` and `bench` know only this protocol; ONNX Runtime, TensorRT
and the torch checkpoint each implement it in one file of their own.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..errors import ContractError

Outputs = dict[str, npt.NDArray[np.generic]]


class OnDevice(Protocol):
    """The device's part of a run alone, for measuring: copies are left out of `execute`."""

    def upload(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> None:
        """Place one batch in the session's device buffers."""
        ...

    def execute(self) -> None:
        """Run on the uploaded batch and return when the device has finished; copies nothing."""
        ...


class Session(Protocol):
    """A loaded model of fixed shapes. Threads may share one: `run` waits where it has to."""

    contract: Contract
    backend: str
    """What runs it, for tables: `torch-cpu`, `onnxruntime-cpu`, `tensorrt`, ..."""
    device: OnDevice | None
    """None where the session computes in host memory."""

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width) on each canvas.

        Returns:
            The contract's outputs by name; arrays are the caller's to keep.

        Raises:
            ContractError: wrong shape or dtype.
        """
        ...

    def close(self) -> None:
        """Release what the session holds; it cannot run afterwards."""
        ...


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
