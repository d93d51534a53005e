"""TensorRT-RTX: how a context runs, and the kernels it compiled for this GPU, kept on disk.

A TensorRT-RTX engine is compiled for the GPU when a context is made. What that gave is written
beside the engine, as `X.engine.cache`, and read at the next start:

    one line of JSON: for which engine, TensorRT-RTX, GPU and driver    then TensorRT-RTX's bytes

A file for anything else is ignored and replaced. Plain TensorRT has none of this.
Source: TensorRT-RTX 1.7 Python API, `IRuntimeConfig`, `IRuntimeCache`, `CudaGraphStrategy`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import write_bytes
from .engine import LoadedEngine

_LOG = logging.getLogger(__name__)


def has_runtime_config(loaded: LoadedEngine) -> bool:
    """Whether this is TensorRT-RTX, of a version that takes a graph strategy."""
    return (
        loaded.sidecar.fingerprint.runtime == "tensorrt-rtx"
        and hasattr(loaded.trt, "CudaGraphStrategy")
        and hasattr(loaded.engine, "create_runtime_config")
    )


def cache_path(engine_path: Path) -> Path:
    """`X.engine` -> `X.engine.cache`."""
    return engine_path.with_name(engine_path.name + ".cache")


class RuntimeCache:
    """One engine's compiled kernels, shared by its contexts; closed after them."""

    def __init__(self, loaded: LoadedEngine) -> None:
        """Read the file beside the engine, if it is for this GPU and driver."""
        self._loaded = loaded
        self._path = cache_path(loaded.path)
        self._header = _header(loaded)
        self._stored = self._read()
        self._configs: list[Any] = []  # alive as long as the contexts made with them
        self._cache: Any = loaded.engine.create_runtime_config().create_runtime_cache()
        if self._stored and self._cache.deserialize(self._stored) is False:
            _LOG.info("%s: TensorRT-RTX refused it; the engine is compiled again.", self._path)

    def config(self, cuda_graph: bool) -> Any:
        """A configuration for one context, with this cache.

        Args:
            cuda_graph: TensorRT-RTX records the whole engine as one graph at its first run.
        """
        strategies = self._loaded.trt.CudaGraphStrategy
        config = self._loaded.engine.create_runtime_config()
        wanted = strategies.WHOLE_GRAPH_CAPTURE if cuda_graph else strategies.DISABLED
        config.cuda_graph_strategy = wanted
        if config.set_runtime_cache(self._cache) is False:
            _LOG.warning("%s: TensorRT-RTX took no runtime cache.", self._path)
        self._configs.append(config)
        return config

    def save(self) -> None:
        """Write what was compiled since it was read; a folder that cannot be written is logged."""
        memory = self._cache.serialize()
        data = b"" if memory is None else bytes(memory)
        if data in (b"", self._stored):
            return
        try:
            with _locked(self._loaded.path):
                write_bytes(self._path, self._header + data)
        except (InputError, OSError) as err:
            _LOG.warning("%s: the engine is compiled anew at each start (%s)", self._path, err)
            return
        self._stored = data

    def close(self) -> None:
        """Let go of TensorRT-RTX's objects, before the engine goes."""
        self._configs.clear()
        self._cache = None

    def _read(self) -> bytes:
        try:
            with _locked(self._loaded.path):
                data = self._path.read_bytes()
        except OSError:
            return b""
        if data.startswith(self._header):
            return data.removeprefix(self._header)
        _LOG.info("%s: for another engine, GPU or driver; ignored.", self._path)
        return b""


def _header(loaded: LoadedEngine) -> bytes:
    built, gpu = loaded.sidecar.fingerprint, loaded.gpu
    key = {
        "engine_sha256": built.engine_sha256,
        "tensorrt_version": str(loaded.trt.__version__),
        "gpu_name": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver_cuda": gpu.driver_cuda,
    }
    return json.dumps(key, sort_keys=True).encode() + b"\n"


@contextlib.contextmanager
def _locked(engine_path: Path) -> Iterator[None]:
    """One process at a time, by a lock on the engine's own file: none is left behind.

    Windows has no such lock; the file is renamed into place there as well, so it is never half.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with engine_path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # let go of when the file closes
        yield
