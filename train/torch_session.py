"""A checkpoint as a `Session`: the deploy form run by torch, eagerly or compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.errors import SessionError
from ..runtime.sessions.interface import OnDevice, Outputs, check_inputs
from ..runtime.sessions.open import check_session
from .deploy.deployment import Shapes, deploy
from .weights.checkpoint import load_checkpoint

SESSIONS: dict[str, tuple[bool, bool]] = {
    "torch": (False, False),
    "torch-compile": (True, False),
    "torch-fp16": (False, True),
    "torch-compile-fp16": (True, True),
}
"""By name: whether compiled, whether half; the first is what opens without a name."""


def open_checkpoint(path: Path, session: str | None = None) -> TorchSession:
    """Open a checkpoint in one of `SESSIONS`; errors as TorchSession, InputError for the name."""
    compiled, half = SESSIONS[check_session(path, session, tuple(SESSIONS))]
    return TorchSession(path, compiled=compiled, half=half)


class TorchSession:
    """A checkpoint on the GPU where torch has one, else on the CPU. Implements `session.Session`.

    `device` is set on a GPU only.
    """

    def __init__(
        self,
        path: Path,
        shapes: Shapes = Shapes(),  # noqa: B008 (frozen value)
        *,
        compiled: bool = False,
        half: bool = False,
    ) -> None:
        """Load and fold the checkpoint.

        Args:
            path: a `.safetensors` with its `.yaml`.
            shapes: of the deploy form.
            compiled: through `torch.compile`; the first run compiles, for a minute or more.
            half: convolutions and linear layers in FP16 (autocast); needs CUDA.

        Raises:
            InputError, ConfigError: the checkpoint or the shapes are not usable.
            SessionError: half without CUDA.
        """
        deployment = deploy(load_checkpoint(path), shapes)
        self.contract = deployment.contract
        self._on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if half and self._on.type == "cpu":
            raise SessionError(
                f"{path}: torch computes in FP16 on CUDA only, and no GPU is here. Use 'torch'."
            )
        module = deployment.module.to(self._on)
        self._module: Any = torch.compile(module, fullgraph=True) if compiled else module
        self._half = half
        words = ("torch", self._on.type, *["compile"] * compiled, *["fp16"] * half)
        self.backend = "-".join(words)
        self._inputs: tuple[Tensor, ...] = ()
        self.device: OnDevice | None = self if self._on.type == "cuda" else None

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """See `Session.run`.

        Raises:
            SessionError: torch cannot compile or run it (its words are quoted).
        """
        check_inputs(self.contract, images, image_sizes)
        try:
            outputs = self._forward(*self._on_device(images, image_sizes))
        except RuntimeError as err:
            raise SessionError(
                f"{self.contract.variant}: torch stopped ({_first_line(err)}). Compiling needs a "
                "C++ compiler: install g++, or use session 'torch'."
            ) from err
        names = (spec.name for spec in self.contract.outputs)
        return {name: value.cpu().numpy() for name, value in zip(names, outputs, strict=True)}

    def upload(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> None:
        """See `OnDevice.upload`."""
        self._inputs = self._on_device(images, image_sizes)

    def execute(self) -> None:
        """See `OnDevice.execute`."""
        self._forward(*self._inputs)
        torch.cuda.synchronize()

    def _on_device(self, *arrays: npt.NDArray[Any]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self._on) for array in arrays)

    def _forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        half = torch.autocast(self._on.type, torch.float16, enabled=self._half)
        with torch.inference_mode(), half:
            outputs: tuple[Tensor, ...] = self._module(*inputs)
        return outputs

    def close(self) -> None:
        """Drop the network and what it made."""
        del self._module
        self._inputs = ()


def _first_line(err: Exception) -> str:
    return str(err).strip().partition("\n")[0][:300] or type(err).__name__
