from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.sessions.open import ModelRef, model_from_text, open_artefact
from maskrt.runtime.sessions.openvino_session import OpenVinoSession
from maskrt.runtime.sessions.options import SessionOptions
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.runtime.sessions.trt.session import TrtSession


def test_onnx_opens_in_onnx_runtime(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    session = open_artefact(write_onnx(tiny_contract.to_json()))
    assert isinstance(session, OrtSession)
    session.close()


def test_the_suffix_may_be_upper_case(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    path = write_onnx(tiny_contract.to_json())
    assert open_artefact(str(path.rename(path.with_suffix(".ONNX")))).contract == tiny_contract


def test_an_engine_without_its_sidecar_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(SessionError, match=r"model\.engine"):
        open_artefact(engine)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("model.pth", b"x", r"suffix '.pth' is not .* expected \.onnx or \.engine"),
        ("model", b"x", "suffix '' is not"),
        ("model.onnx", None, "no such file"),
        ("empty.onnx", b"", "the file is empty"),
    ],
)
def test_what_cannot_be_opened_is_said_in_a_sentence(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        open_artefact(tmp_path / name)


@pytest.mark.parametrize(
    ("session", "options", "label"),
    [
        ("openvino", SessionOptions(threads=1, device="cpu"), "openvino-cpu"),
        ("onnxruntime-cpu", SessionOptions(), "onnxruntime-cpu"),
        (None, SessionOptions(device="cpu", threads=2), "onnxruntime-cpu"),
    ],
)
def test_a_session_is_chosen_by_name_and_device(
    session: str | None,
    options: SessionOptions,
    label: str,
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
) -> None:
    if session == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    with open_artefact(write_onnx(tiny_contract.to_json()), session, options) as opened:
        assert str(opened.backend) == label


def test_options_reach_tensorrt(write_engine: Any, host_cuda: Any, engine: Any) -> None:
    seen: list[int] = []
    engine.while_running = lambda: seen.append(host_cuda.cudaGetDevice()[1])
    options = SessionOptions(device="cuda:1", contexts=3, cuda_graph=False)
    with open_artefact(write_engine(), None, options) as session:
        assert isinstance(session, TrtSession)
        assert session.graph == "off"
        assert len(seen) == 3  # the first run of each context
        assert set(seen) == {1}


def test_threads_reach_onnx_runtime_and_openvino(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    path = write_onnx(tiny_contract.to_json())
    with OrtSession(path, "cpu", threads=3) as session:
        assert session._session.get_session_options().intra_op_num_threads == 3
    with OpenVinoSession(path, threads=1) as opened:
        compiled = opened._request.get_compiled_model()
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_a_model_is_a_file_and_perhaps_a_session(tmp_path: Path) -> None:
    assert model_from_text("a/x.onnx") == ModelRef(Path("a/x.onnx"))
    model = model_from_text("a/x.onnx@openvino")
    assert model == ModelRef(Path("a/x.onnx"), "openvino")
    assert (model.name, str(model)) == ("x.onnx@openvino", "a/x.onnx@openvino")
    assert model_from_text("user@host/x.onnx") == ModelRef(Path("user@host/x.onnx"))
    odd = tmp_path / "x@y"
    odd.write_bytes(b"")
    assert model_from_text(str(odd)) == ModelRef(odd)


@pytest.mark.parametrize(
    ("text", "session", "options"),
    [
        (
            "x.engine@tensorrt,contexts=4,cuda_graph=off",
            "tensorrt",
            SessionOptions(contexts=4, cuda_graph=False),
        ),
        ("x.engine@contexts=4", None, SessionOptions(contexts=4)),
        ("x.engine@tensorrt,pictures=gpu", "tensorrt", SessionOptions(pictures="gpu")),
        ("x.onnx@openvino,threads=4", "openvino", SessionOptions(threads=4)),
        (
            "x.onnx@onnxruntime-cuda,device=cuda:1",
            "onnxruntime-cuda",
            SessionOptions(device="cuda:1"),
        ),
    ],
)
def test_options_stand_after_the_session_and_are_shown_as_they_were_written(
    text: str, session: str | None, options: SessionOptions
) -> None:
    model = model_from_text(f"a/{text}")
    assert model == ModelRef(Path("a", text.partition("@")[0]), session, options)
    assert (model.name, str(model)) == (text, f"a/{text}")
