"""ONNX Runtime with its inputs and outputs in buffers made once, where the provider computes.

Without a binding ONNX Runtime copies inputs and outputs at every run and allocates outputs anew.
Every shape of a contract is fixed, so one set of buffers serves all runs, and the device's part of
a run can be timed alone.
Source: ONNX Runtime Python API, IOBinding and OrtValue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Contract, Outputs, TensorSpec


class OrtBinding:
    """One session's buffers. Implements `interface.OnDevice`."""

    def __init__(
        self, runtime: Any, session: Any, contract: Contract, device: str, index: int = 0
    ) -> None:
        """Allocate and bind.

        Args:
            runtime: the onnxruntime module.
            session: an `InferenceSession`.
            contract: gives names, shapes and dtypes.
            device: "cuda" or "cpu".
            index: which of them.
        """

        def buffer(spec: TensorSpec) -> Any:
            return runtime.OrtValue.ortvalue_from_shape_and_type(
                list(spec.shape), np.dtype(spec.dtype), device, index
            )

        self._session = session
        self._binding = session.io_binding()
        self._inputs = {spec.name: buffer(spec) for spec in contract.inputs}
        self._outputs = {spec.name: buffer(spec) for spec in contract.outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def upload(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> None:
        """Place one batch in the device's buffers."""
        arrays: Mapping[str, npt.NDArray[Any]] = {"images": images, "image_sizes": image_sizes}
        for name, array in arrays.items():
            self._inputs[name].update_inplace(np.ascontiguousarray(array))

    def execute(self) -> None:
        """Run on the uploaded batch; returns when the device has finished."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def download(self) -> Outputs:
        """Copies of the outputs, by name."""
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}
