"""The way of an engine on a GPU: build, open, run, compare with ONNX Runtime on the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrt.engines.builder import build_engine
from maskrt.engines.inspection import engine_report
from maskrt.runtime.cuda import missing_device
from maskrt.runtime.ort_session import OrtSession
from maskrt.runtime.trt_session import TrtSession

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(missing_device() is not None, reason=f"no GPU here: {missing_device()}"),
]
# The convolution sums 27 products in FP16: TensorRT and ONNX Runtime order them differently.
# Pixels go to 255 and weights to about 3: sums reach some thousands, where FP16 steps are 2 to 4.
FP16_SUM_ATOL = 16.0


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


def test_inspector_reads_the_layers_of_a_real_engine(tiny_onnx: Path) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine, runtime="tensorrt", progress=False)
    layers = engine_report(engine)["engine_layers"]
    assert layers["source"] == "engine inspector"
    assert layers["layers_by_precision"].get("float16", 0) > 0


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
    from maskrt.runtime.cuda import device_info

    info = device_info()
    return info is not None and info.compute_capability in ("9.0", "10.0", "10.3")
