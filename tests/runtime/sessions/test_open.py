from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.sessions.open import Model, model_from_text, open_artefact
from maskrt.runtime.sessions.ort_session import OrtSession


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


@pytest.mark.parametrize("session", ["openvino", "onnxruntime-cpu"])
def test_a_session_is_chosen_by_name(
    session: str, write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    opened = open_artefact(write_onnx(tiny_contract.to_json()), session)
    assert opened.backend == {"openvino": "openvino-cpu"}.get(session, session)


def test_an_unknown_session_names_the_known_ones(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    path = write_onnx(tiny_contract.to_json())
    with pytest.raises(InputError, match=r"tiny\.onnx@opnvino: unknown session .* openvino\. Ch"):
        open_artefact(path, "opnvino")


def test_a_model_is_a_file_and_perhaps_a_session(tmp_path: Path) -> None:
    assert model_from_text("a/x.onnx") == Model(Path("a/x.onnx"))
    model = model_from_text("a/x.onnx@openvino")
    assert model == Model(Path("a/x.onnx"), "openvino")
    assert (model.name, str(model)) == ("x.onnx@openvino", "a/x.onnx@openvino")
    assert model_from_text("user@host/x.onnx") == Model(Path("user@host/x.onnx"))
    odd = tmp_path / "x@y"
    odd.write_bytes(b"")
    assert model_from_text(str(odd)) == Model(odd)
