"""One execution context of an engine: a stream, buffers bound once, and the run as a CUDA graph.

    stage (pinned host memory) --copy--> buffers --engine--> buffers --copy--> stage    `run`
                                         buffers --engine--> buffers                    `execute`

Shapes are fixed per artefact, so addresses are bound once and both lines are recorded as graphs,
each launched by one call. They are recorded after a real run: TensorRT loads its kernels at the
first one, and that cannot be recorded.
Source: TensorRT 10 and 11 `execute_async_v3`; `trtexec` for warm-up, capture and falling back.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract import Outputs, TensorSpec
from ...errors import MaskRTWarning, SessionError
from ...gpu import cuda
from ...gpu.device_array import DeviceArray, device_array_from, require_alignment
from ...gpu.graph import Graph
from ...pictures.picture_path import Canvases
from ..interface import check_inputs
from .engine import LoadedEngine, execution_context, working_memory_bytes
from .runtime_cache import RuntimeCache
from .tensorrt_module import tensorrt_logger

CAPTURED = "captured"
INSIDE_RTX = "inside TensorRT-RTX"
OFF = "off"


class TrtContext:
    """Runs one batch at a time; threads that share one wait. Implements `interface.OnDevice`."""

    inputs: dict[str, DeviceArray]
    """The engine's own input buffers: written in place, they are run without any copy."""
    outputs: dict[str, DeviceArray]
    """The engine's output buffers: what the last run left."""
    graph: str
    """`captured`, `inside TensorRT-RTX`, `off`, or why runs are queued call by call."""
    device_memory_bytes: int
    """Its buffers and the engine's working memory; the weights are the engine's, shared by all."""

    def __init__(
        self,
        loaded: LoadedEngine,
        *,
        device: int = 0,
        cuda_graph: bool = True,
        stream: object | None = None,
        allocator: cuda.Allocator | None = None,
        cache: RuntimeCache | None = None,
    ) -> None:
        """Make the buffers, run once, record the graphs.

        Args:
            loaded: the engine; outlives the context.
            device: the GPU it was opened on.
            cuda_graph: record the run; False queues it call by call, for measuring the difference.
            stream: the caller's (`cuda.stream_handle`); None makes a non-blocking one.
            allocator: gives the buffers their memory; None takes `cudaMalloc`.
            cache: TensorRT-RTX only: its compiled kernels and graph strategy.

        Raises:
            SessionError: too little GPU memory, or the first run failed.
            InputError: `stream` is none, or the default stream.
        """
        self._loaded: LoadedEngine | None = loaded
        self._context: Any = None
        self._device_index = device
        self._allocator = allocator
        self._one_at_a_time = threading.Lock()
        self._host: dict[str, cuda.PinnedArray] = {}
        self._buffers: dict[str, cuda.DeviceBuffer] = {}
        self._resources = contextlib.ExitStack()
        self._queue_run: Callable[[], None] = self._queue_all
        self._queue_engine: Callable[[], None] = self._enqueue
        try:
            with cuda.using_device(device):
                self._open(loaded, stream, cuda_graph, cache)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        loaded: LoadedEngine,
        stream: object | None,
        cuda_graph: bool,
        cache: RuntimeCache | None,
    ) -> None:
        self.contract = loaded.sidecar.contract
        self.stream = cuda.Stream(stream)
        self._resources.callback(self.stream.close)
        config = None if cache is None else cache.config(cuda_graph)
        self._context = execution_context(loaded, config)
        self.inputs = {spec.name: self._allocate(spec) for spec in self.contract.inputs}
        self.outputs = {spec.name: self._allocate(spec) for spec in self.contract.outputs}
        buffers_bytes = sum(buffer.nbytes for buffer in self._buffers.values())
        self.device_memory_bytes = buffers_bytes + working_memory_bytes(loaded.engine)
        self._warm_up()
        self.graph = self._record(cuda_graph, cache)

    def _allocate(self, spec: TensorSpec) -> DeviceArray:
        host = cuda.PinnedArray(spec.shape, spec.dtype)
        self._resources.callback(host.close)
        buffer = cuda.DeviceBuffer(host.array.nbytes, self._allocator)
        self._resources.callback(buffer.close)
        self._host[spec.name], self._buffers[spec.name] = host, buffer
        self._bind(spec.name, buffer.pointer)
        return DeviceArray(
            buffer.pointer,
            spec.shape,
            np.dtype(spec.dtype),
            self._device_index,
            # our own stream is waited for before anyone sees the array
            self.stream if self.stream.is_callers else None,
            owner=buffer,
        )

    def _bind(self, name: str, address: int) -> None:
        loaded = self._open_engine()
        if not self._context.set_tensor_address(name, address):
            raise SessionError(
                f"{loaded.path}: TensorRT refused the address of '{name}'; expected a tensor of "
                f"the engine. Build it again: {loaded.sidecar.rebuild_command(loaded.path)}"
            )

    def _warm_up(self) -> None:
        """One real run, on a black canvas that is valid to its edges."""
        for spec in self.contract.inputs:
            host = self._host[spec.name].array
            host[...] = 0
            if spec.name == "image_sizes":
                host[...] = self.contract.canvas_hw
        self._queue_all()
        self.stream.synchronize()

    def _record(self, wanted: bool, cache: RuntimeCache | None) -> str:
        """Replace queueing call by call with a graph's launch; says whether it did."""
        if not wanted:
            return OFF
        if cache is not None:
            return INSIDE_RTX
        try:
            self._queue_run = self._recorded(self._queue_all)
            self._queue_engine = self._recorded(self._enqueue)
        except SessionError as err:
            self._queue_run, self._queue_engine = self._queue_all, self._enqueue
            path = self._open_engine().path
            warnings.warn(
                f"{path}: no CUDA graph could be recorded, so every run is queued call by call and "
                f"takes longer. Reason: {err}",
                MaskRTWarning,
                stacklevel=5,  # whoever opened the session
            )
            return str(err)
        return CAPTURED

    def _recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = Graph(self.stream, work)
        self._resources.callback(graph.close)
        return partial(graph.launch, self.stream)

    def run(self, images: Canvases, image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; arguments and result as `Session.run`.

        Canvases in GPU memory are waited for and copied into the engine's own buffer there, which
        takes some microseconds, so that the recorded graph runs them.

        Raises:
            ContractError: wrong shape or dtype, or canvases on another GPU.
            SessionError: closed, or TensorRT or CUDA failed.
        """
        check_inputs(self.contract, images, image_sizes)
        with self._turn():
            if isinstance(images, DeviceArray):
                self._queue_placed(images, image_sizes)
                self._queue_engine()
                self._queue_download()
            else:
                self._stage(images, image_sizes)
                self._queue_run()
            self.stream.synchronize()
            return {spec.name: self._host[spec.name].array.copy() for spec in self.contract.outputs}

    def upload(self, images: Canvases, image_sizes: npt.NDArray[np.int32]) -> None:
        """Place one batch in the device's buffers; arguments and errors as `run`."""
        check_inputs(self.contract, images, image_sizes)
        with self._turn():
            if isinstance(images, DeviceArray):
                self._queue_placed(images, image_sizes)
            else:
                self._stage(images, image_sizes)
                self._queue_upload(*self.inputs)
            self.stream.synchronize()

    def _queue_placed(self, images: DeviceArray, image_sizes: npt.NDArray[np.int32]) -> None:
        """Queue canvases in GPU memory into the engine's own buffer; sizes come from the host."""
        (spec,) = (spec for spec in self.contract.inputs if spec.name == "images")
        placed = self._taken(images, spec)
        cuda.copy_on_device(self._buffers["images"], placed.pointer, self.stream)
        np.copyto(self._host["image_sizes"].array, image_sizes)
        self._queue_upload("image_sizes")

    def execute(self) -> None:
        """Run on the uploaded batch and return when the GPU has finished; copies nothing."""
        with self._turn():
            self._queue_engine()
            self.stream.synchronize()

    def execute_profiled(self, profiler: object, runs: int) -> None:
        """Run `runs` times on the uploaded batch while TensorRT reports every layer's time.

        A run is queued call by call and waited for, since a graph's launch reports nothing. The
        profiler stays on the context, so close it afterwards: TensorRT documents no way to take
        one off, and later runs would go on reporting.

        Args:
            profiler: a `trt.IProfiler`; its `report_layer_time(name, ms)` is called for each layer
                of each run.
            runs: how often.

        Raises:
            SessionError: opened with `cuda_graph`, closed, or TensorRT or CUDA failed.
        """
        if self.graph != OFF:
            raise SessionError(
                f"TensorRT: layers are to be timed in a context whose graph is '{self.graph}'; "
                f"expected '{OFF}'. Open it with cuda_graph=False."
            )
        with self._turn():
            self._context.profiler = profiler
            for _ in range(runs):
                self._enqueue()
                self.stream.synchronize()

    def run_on_device(self, images: object, image_sizes: object) -> dict[str, DeviceArray]:
        """Run one batch that is in GPU memory, without a copy in either direction.

        Work on the producer's stream, as its array tells it, is waited for. On a stream of its own
        the context returns when the results are finished; on the caller's stream it only queues
        the work there, and the caller orders what follows and keeps both inputs until it is done.
        The engine's own buffers (`inputs`) are run by the recorded graph, other addresses call by
        call.

        Args:
            images: (B, H, W, 3) uint8, an array with `__dlpack__` or `__cuda_array_interface__`.
            image_sizes: (B, 2) int32 likewise; its values are not checked.

        Returns:
            The outputs by name: views of this context's buffers, good until it runs again.

        Raises:
            ContractError: an input is not what the contract states, or not where TensorRT reads.
            SessionError: closed, or TensorRT or CUDA failed.
        """
        with self._turn():
            arrays, given = {"images": images, "image_sizes": image_sizes}, {}
            for spec in self.contract.inputs:
                given[spec.name] = self._taken(arrays[spec.name], spec)
                require_alignment(given[spec.name], spec, self.contract.variant)
            self._queue_engine_on(given)
            if not self.stream.is_callers:
                self.stream.synchronize()
            return dict(self.outputs)

    def _taken(self, array: object, spec: TensorSpec) -> DeviceArray:
        """A caller's array as an input; what is queued from here on sees its contents."""
        variant, device = self.contract.variant, self._device_index
        return device_array_from(array, spec, variant, self.stream, device)

    def _queue_engine_on(self, given: dict[str, DeviceArray]) -> None:
        foreign = {n: a for n, a in given.items() if a.pointer != self.inputs[n].pointer}
        if not foreign:
            self._queue_engine()
            return
        try:
            for name, array in foreign.items():
                self._bind(name, array.pointer)
            self._enqueue()
        finally:
            for name in foreign:
                self._bind(name, self.inputs[name].pointer)

    def _stage(self, images: npt.NDArray[Any], image_sizes: npt.NDArray[Any]) -> None:
        np.copyto(self._host["images"].array, images)
        np.copyto(self._host["image_sizes"].array, image_sizes)

    def _queue_all(self) -> None:
        self._queue_upload(*self.inputs)
        self._enqueue()
        self._queue_download()

    def _queue_download(self) -> None:
        for spec in self.contract.outputs:
            name = spec.name
            cuda.copy_to_host(self._host[name].array, self._buffers[name], self.stream)

    def _queue_upload(self, *names: str) -> None:
        for name in names:
            cuda.copy_to_device(self._buffers[name], self._host[name].array, self.stream)

    def _enqueue(self) -> None:
        loaded = self._open_engine()
        logger = tensorrt_logger(loaded.trt)
        logger.clear()
        if not self._context.execute_async_v3(self.stream.handle):
            raise SessionError(
                f"{loaded.path}: the engine did not run ({logger.recent_errors()}). "
                "Free GPU memory, or build the engine again on this machine."
            )

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """A thread's turn on the context, with its GPU current."""
        with self._one_at_a_time:
            self._open_engine()
            with cuda.using_device(self._device_index):
                yield

    def _open_engine(self) -> LoadedEngine:
        if self._loaded is None:
            raise SessionError("TensorRT: the context is closed. Open the engine again.")
        return self._loaded

    def close(self) -> None:
        """Wait for what runs, then release everything; may be called twice."""
        with self._one_at_a_time:
            if self._context is not None:
                self._resources.callback(self._finish)  # the last one in is the first to run
            self._loaded = None
            cuda.close_on(self._device_index, self._resources)

    def _finish(self) -> None:
        """Nothing is freed while the GPU may still use it: the caller's stream can be busy."""
        try:
            self.stream.synchronize()
        finally:
            self._context = None
