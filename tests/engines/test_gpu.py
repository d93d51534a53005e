"""The way of an engine on a GPU: build, open, run, compare with ONNX Runtime on the same file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.engines.builder import build_engine
from maskrt.engines.compatibility import Compatibility
from maskrt.engines.layers.engine_report import engine_report
from maskrt.engines.layers.layer_profile import profile_engine
from maskrt.engines.layers.summary import LayerSummary
from maskrt.runtime.errors import BuildError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.gpu.device_array import DeviceArray
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.runtime.sessions.trt.session import TrtSession

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(missing_device() is not None, reason=f"no GPU here: {missing_device()}"),
]
# The convolution sums 27 products in FP16: TensorRT and ONNX Runtime order them differently.
# Pixels go to 255 and weights to about 3: sums reach some thousands, where FP16 steps are 2 to 4.
FP16_SUM_ATOL = 16.0
# Of one network with other tactics: a score is a softmax of FP16 sums.
FP16_SCORE_ATOL = 0.02


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_engine_gives_what_onnx_runtime_gives(tiny_onnx: Path, runtime: str) -> None:
    pytest.importorskip(runtime.replace("-", "_"), reason=f"{runtime} is not installed")
    if runtime == "tensorrt-rtx" and _is_data_centre():
        pytest.skip("TensorRT-RTX does not run on data-centre GPUs (compute capability 9.0, 10.0)")
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine, runtime=runtime, progress=False)
    images = np.random.default_rng(2).integers(0, 255, (1, 8, 8, 3), dtype=np.uint8)
    sizes = np.array([[8, 6]], np.int32)
    expected = OrtSession(tiny_onnx, provider="cpu").run(images, sizes)
    with TrtSession(engine) as session:
        for _ in range(2):
            found = session.run(images, sizes)
    np.testing.assert_array_equal(found["counts"], expected["counts"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=FP16_SUM_ATOL)


@pytest.mark.parametrize(
    "asked",
    [
        Compatibility(version_compatible=True),
        Compatibility(version_compatible=True, exclude_lean_runtime=True),
        Compatibility(hardware_compatible="ampere-plus"),
        Compatibility(hardware_compatible="same-capability"),
        Compatibility(strip_weights=True),
    ],
    ids=lambda asked: " ".join(asked.arguments),
)
def test_an_engine_for_other_places_runs_where_it_was_built(
    tiny_onnx: Path, asked: Compatibility
) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    engine = tiny_onnx.with_suffix(".engine")
    try:
        build_engine(tiny_onnx, engine, "tensorrt", compatibility=asked, progress=False)
    except BuildError as err:
        if "cannot be had" not in str(err):
            raise
        pytest.skip(str(err))
    expected = OrtSession(tiny_onnx, provider="cpu").run(*batch(2))
    with TrtSession(engine) as session:
        found = session.run(*batch(2))
    np.testing.assert_array_equal(found["counts"], expected["counts"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=FP16_SUM_ATOL)
    tiny_onnx.unlink()
    if asked.strip_weights:
        with pytest.raises(SessionError, match=r"tiny\.onnx, which holds them, is neither"):
            TrtSession(engine)
    else:
        TrtSession(engine).close()


def test_a_whole_network_gets_all_its_weights_back(chain: Any, tmp_path: Path) -> None:
    """Its parser makes whole numbers of its own, for shapes: are they asked for, too?"""
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    whole, stripped = tmp_path / "whole.engine", tmp_path / "stripped.engine"
    build_engine(chain.onnx_fp16, whole, "tensorrt", progress=False)
    try:
        asked = Compatibility(strip_weights=True)
        build_engine(chain.onnx_fp16, stripped, "tensorrt", compatibility=asked, progress=False)
    except BuildError as err:
        if "cannot be had" not in str(err):
            raise
        pytest.skip(str(err))
    assert stripped.stat().st_size < whole.stat().st_size / 2
    with TrtSession(whole) as one, TrtSession(stripped) as other:
        height, width = one.contract.canvas_hw
        canvas = np.random.default_rng(0).integers(0, 255, (1, height, width, 3), dtype=np.uint8)
        sizes = np.array([[height, width]], np.int32)
        expected, found = one.run(canvas, sizes), other.run(canvas, sizes)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=FP16_SCORE_ATOL)


@pytest.fixture
def engine(tiny_onnx: Path) -> Path:
    """Of plain TensorRT, which runs on every GPU."""
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    path = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, path, runtime="tensorrt", progress=False)
    return path


def batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, (1, 2)).astype(np.int32)
    return rng.integers(0, 255, (1, 8, 8, 3), dtype=np.uint8), sizes


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def on_host(array: DeviceArray) -> np.ndarray:
    """By the driver's own copy, which waits for everything."""
    host = np.empty(array.shape, array.dtype)
    rt = cuda.load_cuda()
    kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
    cuda.check(rt.cudaMemcpy(host.ctypes.data, array.pointer, host.nbytes, kind))
    return host


def test_a_graph_gives_what_calls_one_by_one_give(engine: Path) -> None:
    with TrtSession(engine) as graph, TrtSession(engine, cuda_graph=False) as eager:
        assert (graph.graph, eager.graph) == ("captured", "off")
        assert graph.device_memory_bytes > 0
        for seed in range(5):
            assert_equal(graph.run(*batch(seed)), eager.run(*batch(seed)))


def test_threads_over_two_contexts_get_what_one_thread_gets(engine: Path) -> None:
    batches = [batch(seed) for seed in range(40)]
    with TrtSession(engine, contexts=2) as session, ThreadPoolExecutor(4) as pool:
        alone = [session.run(*one) for one in batches]
        together = list(pool.map(lambda one: session.run(*one), batches))
    for found, expected in zip(together, alone, strict=True):
        assert_equal(found, expected)


def test_the_engine_alone_leaves_its_results_on_the_gpu(engine: Path) -> None:
    with TrtSession(engine) as session, session.lease() as context:
        expected = context.run(*batch(1))
        context.run(*batch(2))
        context.upload(*batch(1))
        context.execute()
        assert_equal({n: on_host(a) for n, a in context.outputs.items()}, expected)


@pytest.mark.parametrize("borrowed", [False, True], ids=["own stream", "caller's stream"])
def test_arrays_on_the_gpu_give_what_host_arrays_give(engine: Path, borrowed: bool) -> None:
    cuda.require_device("test")
    stream = cuda.Stream()
    options = {"stream": stream} if borrowed else {}
    with TrtSession(engine, **options) as session:
        arrays = batch(3)
        expected = session.run(*arrays)
        buffers = [cuda.DeviceBuffer(array.nbytes) for array in arrays]
        for buffer, array in zip(buffers, arrays, strict=True):
            cuda.copy_to_device(buffer, array, stream)
        given = [
            DeviceArray(buffer.pointer, array.shape, array.dtype, stream=stream, owner=buffer)
            for buffer, array in zip(buffers, arrays, strict=True)
        ]
        session.run(*batch(4))
        found = session.run_on_device(*given)
        if borrowed:
            stream.synchronize()
        assert_equal({name: on_host(array) for name, array in found.items()}, expected)
        assert_equal(session.run(*arrays), expected)  # its own buffers are bound again
    for owner in (*buffers, stream):
        owner.close()


def test_pycuda_gives_the_stream_the_memory_and_the_arrays(engine: Path) -> None:
    pytest.importorskip("pycuda", reason='needs pip install ".[pycuda]"')
    import pycuda.autoprimaryctx  # noqa: F401
    import pycuda.driver as drv
    from pycuda import gpuarray

    from maskrt.runtime.gpu.pycuda_path import gpu_array_from

    stream = drv.Stream()
    with TrtSession(engine, stream=stream, allocator=drv.mem_alloc) as session:
        expected = session.run(*batch(5))
        session.run(*batch(6))
        given = [gpuarray.to_gpu(array) for array in batch(5)]
        found = session.run_on_device(*given)
        stream.synchronize()
        assert_equal({n: gpu_array_from(array).get() for n, array in found.items()}, expected)


def test_inspector_reads_the_layers_of_a_real_engine(tiny_onnx: Path) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine, runtime="tensorrt", progress=False)
    report = engine_report(engine)
    layers = report["engine_layers"]
    assert layers["source"] == "engine inspector"
    assert layers["layers_by_precision"].get("float16", 0) > 0
    assert layers == report["build"]["engine"]  # as the build read it
    assert layers["macs"] == report["build"]["network"]["macs"]
    assert layers["unattributed_macs"] == 0
    assert layers["fp16_mac_share"] == report["build"]["network"]["fp16_mac_share"]


def test_an_engine_of_wide_layers_misses_the_floor_on_a_gpu(tiny_onnx: Path) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    engine = tiny_onnx.with_suffix(".engine")
    with pytest.raises(BuildError, match="MACs run in FP16"):
        build_engine(tiny_onnx, engine, "tensorrt", min_fp16=0.99, progress=False)
    assert not engine.exists()
    report = build_engine(tiny_onnx, engine, "tensorrt", min_fp16=0.9, progress=False)
    assert isinstance(report.engine, LayerSummary)
    assert report.notes == ()


def test_every_layer_is_timed_in_every_run(engine: Path) -> None:
    profile = profile_engine(engine, *batch(0), runs=5)
    assert profile.missing is None
    assert profile.total_ms > 0
    assert sum(layer.share for layer in profile.layers) == pytest.approx(1)
    assert [x.ms for x in profile.layers] == sorted((x.ms for x in profile.layers), reverse=True)
    assert {"conv", "MatMul_6"} <= {name for layer in profile.layers for name in layer.onnx}


def test_timing_cache_is_written_and_read_back(tiny_onnx: Path) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    cache = tiny_onnx.with_suffix(".cache")
    for _ in range(2):
        report = build_engine(
            tiny_onnx,
            tiny_onnx.with_suffix(".engine"),
            runtime="tensorrt",
            timing_cache_path=cache,
            progress=False,
        )
        assert report.notes == ()
    assert cache.stat().st_size > 0


def _is_data_centre() -> bool:
    from maskrt.runtime.gpu.cuda import device_info

    info = device_info()
    return info is not None and info.compute_capability in ("9.0", "10.0", "10.3")
