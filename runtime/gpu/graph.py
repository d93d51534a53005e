"""CUDA graphs: work that is queued once, recorded, and launched again as one call.

Source: CUDA Runtime API 12.8 to 13.x, stream capture and graph management.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import cuda


class Graph:
    """Work recorded from a stream, launched again as one call."""

    def __init__(self, stream: cuda.Stream, enqueue: Callable[[], None]) -> None:
        """Record what `enqueue` queues on `stream` (after a warm-up run of the same work).

        Thread-local capture: other threads may go on allocating meanwhile.
        """
        self._rt = rt = cuda.load_cuda()
        mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda.check(rt.cudaStreamBeginCapture(stream.handle, mode))
        try:
            enqueue()
        except BaseException:
            self._abandon(rt.cudaStreamEndCapture(stream.handle))
            raise
        ended = rt.cudaStreamEndCapture(stream.handle)
        if int(ended[0]) != 0:
            self._abandon(ended)
        graph = cuda.check(ended)
        try:
            self._executable: Any = cuda.check(rt.cudaGraphInstantiate(graph, 0))
        finally:
            cuda.check(rt.cudaGraphDestroy(graph))

    def _abandon(self, ended: tuple[Any, ...]) -> None:
        """Drop a capture that failed, with the error that the next CUDA call would report."""
        if len(ended) > 1 and ended[1] is not None and int(ended[1]):
            self._rt.cudaGraphDestroy(ended[1])
        self._rt.cudaGetLastError()

    def launch(self, stream: cuda.Stream) -> None:
        """Queue the recorded work on `stream`."""
        cuda.check(self._rt.cudaGraphLaunch(self._executable, stream.handle))

    def close(self) -> None:
        """Destroy the graph."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            cuda.check(self._rt.cudaGraphExecDestroy(executable))
