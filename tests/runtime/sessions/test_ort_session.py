from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.runtime.contract import Contract, TensorSpec
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.sessions.ort_binding import OrtBinding
from maskrt.runtime.sessions.ort_module import provider_trouble
from maskrt.runtime.sessions.ort_providers import CPU, CUDA, TENSORRT
from maskrt.runtime.sessions.ort_session import OrtSession, _backend

Writer = Callable[[str | None], Path]
SIZES = np.array([[16, 48], [32, 20]], np.int32)


@pytest.fixture
def session(write_onnx: Writer, tiny_contract: Contract) -> OrtSession:
    return OrtSession(write_onnx(tiny_contract.to_json()), provider="cpu", threads=1)


def test_the_contract_comes_from_the_file(session: OrtSession, tiny_contract: Contract) -> None:
    assert session.contract == tiny_contract
    assert str(session.backend) == "onnxruntime-cpu"


def test_a_batch_gives_the_contracts_outputs(session: OrtSession) -> None:
    images = np.zeros((2, 32, 48, 3), np.uint8)
    images[0, 3, 4, 1] = 51
    outputs = session.run(images, SIZES)
    assert {name: (array.shape, array.dtype.name) for name, array in outputs.items()} == {
        spec.name: (spec.shape, spec.dtype) for spec in session.contract.outputs
    }
    assert outputs["boxes"][0, :2].tolist() == [[0, 0, 48, 16], [24, 8, 48, 16]]
    assert outputs["boxes"][1, 0].tolist() == [0, 0, 20, 32]
    assert outputs["scores"][:, 0].tolist() == pytest.approx([0.2, 0.0])


def test_default_provider_runs_here(write_onnx: Writer, tiny_contract: Contract) -> None:
    session = OrtSession(str(write_onnx(tiny_contract.to_json())))
    assert session.backend.device in {"cpu", "cuda"}
    assert session.run(np.zeros((2, 32, 48, 3), np.uint8), SIZES)["counts"].tolist() == [2, 2]


def test_a_foreign_onnx_file_is_refused(write_onnx: Writer) -> None:
    with pytest.raises(InputError, match=r"tiny\.onnx: an ONNX file without a maskrt contract"):
        OrtSession(write_onnx(None))


def test_an_unreadable_contract_is_refused(write_onnx: Writer) -> None:
    with pytest.raises(ContractError, match=r"tiny\.onnx: the maskrt contract in it is unreadable"):
        OrtSession(write_onnx("{"))


def test_a_corrupt_file_quotes_onnx_runtime(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x00not a protobuf" * 50)
    with pytest.raises(SessionError, match=r"broken\.onnx: ONNX Runtime could not load it \(.+\)"):
        OrtSession(path)


def test_a_truncated_file_is_refused(write_onnx: Writer, tiny_contract: Contract) -> None:
    path = write_onnx(tiny_contract.to_json())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SessionError, match="could not load it"):
        OrtSession(path)


def test_a_contract_of_another_graph_is_refused(
    write_onnx: Writer, tiny_contract: Contract
) -> None:
    other = (TensorSpec("boxes", (2, 9, 4), "float32"), *tiny_contract.outputs[1:])
    text = dataclasses.replace(tiny_contract, outputs=other).to_json()
    with pytest.raises(SessionError, match=r"contract and graph differ: only the .* has 'boxes'"):
        OrtSession(write_onnx(text))


def test_a_provider_this_build_lacks_names_the_extra(
    write_onnx: Writer, tiny_contract: Contract
) -> None:
    path = write_onnx(tiny_contract.to_json())
    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has them all")
    with pytest.raises(
        SessionError, match=r'TensorrtExecutionProvider cannot start .* "\.\[onnxruntime-gpu\]"'
    ):
        OrtSession(path, provider="tensorrt")
    with pytest.raises(SessionError, match="provider 'rocket' found; expected one of cpu, cuda"):
        OrtSession(path, provider="rocket")


@pytest.mark.skipif(
    not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"),
    reason="ONNX Runtime before 1.24 does not tell its placement",
)
def test_placement_names_every_node(write_onnx: Writer, tiny_contract: Contract) -> None:
    path = write_onnx(tiny_contract.to_json())
    session = OrtSession(path, provider="cpu")
    assert set(session.placement()) == {"cpu"}
    assert 1 <= session.placement()["cpu"] <= len(onnx.load(str(path)).graph.node)


def test_bound_buffers_give_the_same_results(
    session: OrtSession, write_onnx: Writer, tiny_contract: Contract
) -> None:
    plain = onnxruntime.InferenceSession(str(write_onnx(tiny_contract.to_json())))
    bound = OrtBinding(onnxruntime, plain, tiny_contract, "cpu")
    rng = np.random.default_rng(0)
    for _ in range(2):
        images = rng.integers(0, 255, (2, 32, 48, 3), dtype=np.uint8)
        bound.upload(images, SIZES)
        bound.execute()
        first = bound.download()
        for name, array in session.run(images, SIZES).items():
            np.testing.assert_array_equal(first[name], array)
            assert first[name].dtype == array.dtype
    bound.upload(np.zeros_like(images), SIZES[::-1])
    bound.execute()
    np.testing.assert_array_equal(first["boxes"], session.run(images, SIZES)["boxes"])


def test_missing_onnxruntime_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[cpu\]"'):
        OrtSession(tmp_path / "any.onnx")


def test_a_cuda_provider_that_cannot_start_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
    write_onnx: Writer,
    tiny_contract: Contract,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA: its fall-back to the CPU cannot be provoked")
    path = write_onnx(tiny_contract.to_json())
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)  # onnxruntime's own, not ours
    provider_trouble.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert OrtSession(path).provider == "cpu"
    assert "CUDAExecutionProvider cannot start (" in caplog.text
    with pytest.raises(SessionError, match=r"CUDAExecutionProvider cannot start \(.+\); expected"):
        OrtSession(path, provider="cuda")
    provider_trouble.cache_clear()


def test_rows_that_tensorrt_rounds_to_tf32_say_so(tiny_contract: Contract) -> None:
    half = dataclasses.replace(tiny_contract, precision="fp16")
    labels = [_backend("tensorrt", contract).label for contract in (tiny_contract, half)]
    assert labels == ["onnxruntime-tensorrt-tf32", "onnxruntime-tensorrt"]
    assert _backend("cuda", tiny_contract).label == "onnxruntime-cuda"
