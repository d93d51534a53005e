"""A checkpoint as a `Session`: the deploy form run by torch, eagerly or compiled."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..runtime.closing import Closing
from ..runtime.contract import Outputs
from ..runtime.errors import SessionError, first_line
from ..runtime.sessions.interface import Backend, OnDevice, check_inputs, closed_error
from ..runtime.sessions.open import DEFAULTS, check_session
from ..runtime.sessions.options import SessionOptions
from .deploy.deployment import Shapes, deploy
from .weights.checkpoint import load_checkpoint

SESSIONS: dict[str, tuple[bool, bool]] = {
    "torch": (False, False),
    "torch-compile": (True, False),
    "torch-fp16": (False, True),
    "torch-compile-fp16": (True, True),
}
"""By name: whether compiled, whether half; the first is what opens without a name."""


def open_checkpoint(
    path: Path, session: str | None = None, options: SessionOptions = DEFAULTS
) -> TorchSession:
    """Open a checkpoint in one of `SESSIONS`.

    Of the options it obeys `device` alone: torch has one number of threads for the whole process,
    which is its caller's to set (`torch.set_num_threads`).

    Raises:
        InputError: an unknown session, or an option that it cannot obey; else as `TorchSession`.
    """
    compiled, half = SESSIONS[check_session(path, session, tuple(SESSIONS))]
    options.require_obeyed(str(path), (), ("cpu", "cuda"))
    return TorchSession(path, device=options.device, compiled=compiled, half=half)


class TorchSession(Closing):
    """A checkpoint run by torch. Implements `interface.Session`; `on_device` on a GPU only.

    It survives fork on a CPU, where the child goes on with one thread of torch; CUDA does not. On a
    GPU it turns TF32 off, for the whole process.
    """

    backend: Backend
    on_device: OnDevice | None

    def __init__(
        self,
        path: Path,
        shapes: Shapes = Shapes(),  # noqa: B008 (frozen value)
        *,
        device: str | None = None,
        compiled: bool = False,
        half: bool = False,
    ) -> None:
        """Load and fold the checkpoint.

        Args:
            path: a `.safetensors` with its `.yaml`.
            shapes: of the deploy form.
            device: "cpu", "cuda" or "cuda:N"; None takes the first GPU where torch has one.
            compiled: through `torch.compile`; the first run compiles, for a minute or more.
            half: convolutions and linear layers in FP16 (autocast); needs CUDA.

        Raises:
            InputError, ConfigError: the checkpoint or the shapes are not usable.
            SessionError: half or a GPU without CUDA.
        """
        _one_thread_after_fork()
        deployment = deploy(load_checkpoint(path), shapes)
        self.contract = deployment.contract
        self._torch_device = _device(path, device, half)
        if self._torch_device.type == "cuda":
            forbid_tf32()
        module = deployment.module.to(self._torch_device)
        self._module: Any = torch.compile(module, fullgraph=True) if compiled else module
        self._half, self._process = half, os.getpid()
        self.backend = _backend(self._torch_device.type, compiled, half)
        self._inputs: tuple[Tensor, ...] = ()
        self.on_device = self if self._torch_device.type == "cuda" else None

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """See `Session.run`.

        Raises:
            SessionError: closed, opened on a GPU before a fork, or torch cannot compile or run it
                (its words are quoted).
        """
        check_inputs(self.contract, images, image_sizes)
        if self._torch_device.type == "cuda" and os.getpid() != self._process:
            raise SessionError(
                f"{self.contract.variant}: opened on {self._torch_device} by process "
                f"{self._process} and run in its fork {os.getpid()}; CUDA does not survive a fork. "
                "Open the model after the fork, or start processes by 'spawn'."
            )
        try:
            outputs = self._forward(*self._on_device(images, image_sizes))
        except RuntimeError as err:
            raise SessionError(
                f"{self.contract.variant}: torch stopped ({first_line(err)}). Compiling needs a "
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
        torch.cuda.synchronize(self._torch_device)

    def _on_device(self, *arrays: npt.NDArray[Any]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self._torch_device) for array in arrays)

    def _forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        module = self._module
        if module is None:
            raise closed_error(self.contract.variant)
        half = torch.autocast(self._torch_device.type, torch.float16, enabled=self._half)
        with torch.inference_mode(), half:
            outputs: tuple[Tensor, ...] = module(*inputs)
        return outputs

    def close(self) -> None:
        """Drop the network and what it made; a second call does nothing."""
        self._module = self.on_device = None
        self._inputs = ()


def forbid_tf32() -> None:
    """FP32 on a GPU is FP32 from here on, in the whole process, compiled or not.

    torch lets cuDNN convolve FP32 in TF32 (10 bits of mantissa) on Ampere and later unless told
    otherwise. The gates of FP32 files compare with this session: instances would not match that the
    files have right. Never undone: threads share the switch, and one would undo it under another.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@functools.cache
def _one_thread_after_fork() -> None:
    """Forked children compute with one thread, once for the process.

    A fork copies none of the threads in OpenMP's pool, and the child would wait for them for ever.
    torch does the same in its DataLoader's workers.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def _device(path: Path, asked: str | None, half: bool) -> torch.device:
    here = torch.cuda.is_available()
    device = torch.device(asked or ("cuda" if here else "cpu"))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SessionError(
            f"{path}: torch sees {torch.cuda.device_count()} GPUs; expected {device}. "
            "Name a GPU that 'maskrt doctor' lists, or the CPU."
        )
    if half and device.type == "cpu":
        found = "the CPU was asked for" if here else "no GPU is here"
        raise SessionError(
            f"{path}: torch computes in FP16 on CUDA only, and {found}. Use 'torch'."
        )
    return device


def _backend(device: str, compiled: bool, half: bool) -> Backend:
    label = "-".join(("torch", device, *["compile"] * compiled, *["fp16"] * half))
    return Backend(
        "torch", "cuda" if device == "cuda" else "cpu", "fp16" if half else "fp32", label
    )
