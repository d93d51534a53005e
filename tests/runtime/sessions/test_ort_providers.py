from __future__ import annotations

import pytest

from maskrt.runtime.contract import Precision
from maskrt.runtime.sessions.ort_providers import PROVIDERS, cache_folder, provider_options


def test_every_provider_on_a_gpu_is_told_which() -> None:
    for chain in PROVIDERS.values():
        for provider in chain:
            options = provider_options(provider, "fp32", 3)
            assert options.get("device_id") == (None if provider == "CPUExecutionProvider" else "3")


@pytest.mark.parametrize(
    ("precision", "fp16", "int8"), [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8", "0", "1")]
)
def test_tensorrt_keeps_the_files_precision_and_its_engines(
    precision: Precision, fp16: str, int8: str
) -> None:
    options = provider_options("TensorrtExecutionProvider", precision, 0)
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (fp16, int8)
    assert options["trt_engine_cache_path"] == str(cache_folder())


def test_fp32_is_fp32_on_cuda() -> None:
    assert provider_options("CUDAExecutionProvider", "fp32", 0)["use_tf32"] == "0"
