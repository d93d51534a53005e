"""TensorRT-RTX's own graphs and the kernels it keeps on disk, through stand-ins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.cuda import DeviceInfo
from maskrt.runtime.sessions.trt.runtime_cache import cache_path
from maskrt.runtime.sessions.trt.session import TrtSession

IMAGES = np.zeros((1, 4, 4, 3), np.uint8)
SIZES = np.array([[4, 3]], np.int32)

RTX = {"runtime": "tensorrt-rtx", "tensorrt_version": "1.7.1.21"}


@pytest.mark.parametrize(
    ("wanted", "strategy", "told"),
    [(True, "whole graph", "inside TensorRT-RTX"), (False, "disabled", "off")],
)
def test_rtx_records_by_itself(
    write_engine: Any,
    host_cuda: Any,
    rtx_engine: Any,
    wanted: bool,
    strategy: str,
    told: str,
) -> None:
    with TrtSession(write_engine(**RTX), cuda_graph=wanted, contexts=2) as session:
        assert session.graph == told
        assert session.run(IMAGES, SIZES)["doubled"].tolist() == [[8, 6]]
        assert [config.cuda_graph_strategy for config in rtx_engine.configs] == [strategy] * 2
        assert rtx_engine.configs[0].cache is rtx_engine.configs[1].cache is not None
    assert "record" not in host_cuda.log


def test_the_cache_is_made_on_the_sessions_gpu(
    write_engine: Any, host_cuda: Any, rtx_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, seen = rtx_engine.create_runtime_config, []

    def noted() -> Any:
        seen.append(host_cuda.cudaGetDevice()[1])
        return make()

    monkeypatch.setattr(rtx_engine, "create_runtime_config", noted)
    TrtSession(write_engine(**RTX), 1).close()
    assert set(seen) == {1}
    assert host_cuda.cudaGetDevice() == (0, 0)


def test_what_rtx_compiled_is_read_at_the_next_start(
    tmp_path: Path, write_engine: Any, rtx_engine: Any
) -> None:
    path = write_engine(**RTX)
    TrtSession(path).close()
    written = cache_path(path).stat()
    assert rtx_engine.read == []
    TrtSession(path).close()
    assert rtx_engine.read == [b"kernels\n of this GPU"]
    assert cache_path(path).stat().st_mtime_ns == written.st_mtime_ns  # nothing new: not written
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x.engine",
        "x.engine.cache",
        "x.engine.json",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda gpu: dataclasses.replace(gpu, driver_cuda="13.1"),
        lambda gpu: dataclasses.replace(gpu, name="NVIDIA RTX 5090", compute_capability="12.0"),
    ],
    ids=["driver", "GPU"],
)
def test_a_cache_for_another_gpu_or_driver_is_ignored_and_replaced(
    write_engine: Any,
    rtx_engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[DeviceInfo], DeviceInfo],
) -> None:
    path = write_engine(**RTX)
    TrtSession(path).close()
    first = cache_path(path).read_bytes()
    other = change(cuda.require_device("x"))
    monkeypatch.setattr(cuda, "require_device", lambda *_: other)
    TrtSession(path).close()
    assert rtx_engine.read == []
    assert cache_path(path).read_bytes() != first


def test_a_cache_that_cannot_be_written_costs_only_time(
    write_engine: Any, rtx_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_engine(**RTX)
    cache_path(path).mkdir()  # a folder is in its place
    with TrtSession(path) as session:
        assert session.run(IMAGES, SIZES)["doubled"].tolist() == [[8, 6]]
    assert "the engine is compiled anew at each start" in caplog.text


def test_plain_tensorrt_is_never_given_a_runtime_config(
    write_engine: Any, rtx_engine: Any, use_engine: Any
) -> None:
    # plain TensorRT has `create_runtime_config` too, from 10.12 on
    use_engine(rtx_engine, CudaGraphStrategy=None)
    path = write_engine()
    with TrtSession(path) as session:
        assert session.graph == "captured"
    assert rtx_engine.configs == []
    assert not cache_path(path).exists()


def test_names_used_exist_in_the_bindings() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    names = {
        "ICudaEngine": ("create_runtime_config", "device_memory_size_v2"),
        "IRuntimeConfig": ("create_runtime_cache", "set_runtime_cache", "cuda_graph_strategy"),
        "IRuntimeCache": ("serialize", "deserialize"),
        "CudaGraphStrategy": ("DISABLED", "WHOLE_GRAPH_CAPTURE"),
        "IExecutionContext": ("execute_async_v3", "set_tensor_address"),
    }
    used = [(kind, name) for kind, members in names.items() for name in members]
    assert [one for one in used if not hasattr(getattr(trt, one[0]), one[1])] == []
