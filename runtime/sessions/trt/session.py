"""TensorRT and TensorRT-RTX engines as a `Session`: a pool of execution contexts.

    thread --run--> queue of idle contexts --> its own stream, buffers, graph --> queue

`engine.py` opens the file, `context.py` runs a batch. The contexts of one engine share its
weights and nothing else, so as many threads as there are contexts run at the same time.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...closing import Closing
from ...contract import Outputs
from ...errors import InputError, SessionError
from ...gpu import cuda
from ...gpu.device_array import DeviceArray
from ...pictures.picture_path import Canvases
from ...sidecar import Sidecar
from ..interface import Backend, OnDevice
from .context import TrtContext
from .engine import load_engine, require_contract_tensors
from .runtime_cache import RuntimeCache, has_runtime_config


class TrtSession(Closing):
    """An engine ready to run. Threads may share one; `run` waits for an idle context."""

    backend: Backend
    device_index: int
    """Of the GPU that it runs on."""
    on_device: OnDevice | None
    """The first context, for measuring the engine without its copies; None once closed."""
    graph: str
    """`captured`, `inside TensorRT-RTX`, `off`, or why runs are queued call by call."""
    device_memory_bytes: int
    """GPU memory of all contexts, without the engine's weights (about the size of its file)."""

    def __init__(
        self,
        engine_path: Path,
        device: int = 0,
        *,
        contexts: int = 1,
        cuda_graph: bool = True,
        stream: object | None = None,
        allocator: cuda.Allocator | None = None,
    ) -> None:
        """Load an engine, run it once and record it.

        With PyCUDA see `gpu/pycuda_path.py`: its `stream` and `allocator` go in here.

        Args:
            engine_path: made by `maskrt build`.
            device: index of the GPU.
            contexts: how many batches may run at once, each in GPU memory of its own.
            cuda_graph: record the run as a CUDA graph; a MaskRTWarning tells where that fails.
            stream: the caller's CUDA stream (an int, or an object of PyCUDA, torch, CuPy or
                cuda.core), for one context; None makes a non-blocking stream per context.
            allocator: bytes -> an object that `int()` turns into a GPU address aligned to 256 and
                whose last reference frees it, as `pycuda.driver.mem_alloc`; None takes
                `cudaMalloc`. TensorRT's own working memory does not go through it.

        Raises:
            InputError: as `load_engine`; `contexts` is below 1, or above with `stream`.
            SessionError: as `load_engine`; too little GPU memory; the first run failed.
        """
        _check_contexts(engine_path, contexts, stream)
        self._path = engine_path
        self.device_index = device
        self._closing = threading.Lock()
        self._idle: queue.SimpleQueue[TrtContext | None] = queue.SimpleQueue()
        loaded = load_engine(engine_path, device)
        require_contract_tensors(loaded)
        self.contract = loaded.sidecar.contract
        self.backend = _backend(loaded.sidecar)
        opened: list[TrtContext] = []
        with cuda.using_device(device), contextlib.ExitStack() as stack:
            cache = RuntimeCache(loaded) if has_runtime_config(loaded) else None
            if cache is not None:
                stack.callback(cache.close)
            for _ in range(contexts):
                context = TrtContext(
                    loaded,
                    device=device,
                    cuda_graph=cuda_graph,
                    stream=stream,
                    allocator=allocator,
                    cache=cache,
                )
                stack.callback(context.close)
                opened.append(context)
            if cache is not None:
                cache.save()
            self._resources = stack.pop_all()
        self._contexts = opened
        for context in opened:
            self._idle.put(context)
        self.on_device = opened[0]
        self.graph = "; ".join(dict.fromkeys(context.graph for context in opened))
        self.device_memory_bytes = sum(context.device_memory_bytes for context in opened)

    def run(self, images: Canvases, image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; see `Session.run`. Canvases may be in this GPU's memory.

        Raises:
            ContractError: wrong shape or dtype, or canvases on another GPU.
            SessionError: closed, or TensorRT or CUDA failed.
        """
        with self.lease() as context:
            return context.run(images, image_sizes)

    def run_on_device(self, images: object, image_sizes: object) -> dict[str, DeviceArray]:
        """Run one batch that is in GPU memory, without copies; see `TrtContext.run_on_device`.

        The results are views of one context's buffers, good until that context runs again: with
        `contexts=1` the session's next run. Threads that share a session take a `lease` instead.
        """
        with self.lease() as context:
            return context.run_on_device(images, image_sizes)

    @contextlib.contextmanager
    def lease(self) -> Iterator[TrtContext]:
        """A context for this block alone, so that its buffers stay as they are; waits for one.

        Raises:
            SessionError: the session is closed.
        """
        context = self._idle.get()
        if context is None:
            self._idle.put(None)  # for the next that waits
            raise SessionError(f"{self._path}: the session is closed. Open the engine again.")
        try:
            yield context
        finally:
            self._idle.put(context)

    def close(self) -> None:
        """Wait for runs under way, then release all GPU memory; may be called twice."""
        with self._closing:
            if self.on_device is None:
                return
            self.on_device = None
            for _ in self._contexts:
                self._idle.get()
            self._idle.put(None)
            self._contexts.clear()
            cuda.close_on(self.device_index, self._resources)


def _check_contexts(path: Path, contexts: int, stream: object | None) -> None:
    if contexts < 1 or (contexts > 1 and stream is not None):
        many = "on one stream, which runs one at a time; expected 1" if stream is not None else ""
        raise InputError(
            f"{path}: {contexts} contexts {many or 'asked for; expected 1 or more'}. "
            "Change 'contexts', or open the engine without 'stream'."
        )


def _backend(sidecar: Sidecar) -> Backend:
    """What runs an engine; one of FP32 that was let multiply in TF32 is called so."""
    built, precision = sidecar.fingerprint, sidecar.contract.precision
    tf32 = precision == "fp32" and built.options.get("tf32") is True
    label = f"{built.runtime}-tf32" if tf32 else built.runtime
    return Backend(built.runtime, "cuda", precision, label)
