"""A Triton repository: read by Triton's own schema, and what cannot be in one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.bundle_folder import write_index
from maskrt.runtime.contract import Contract, contract_from_json
from maskrt.runtime.errors import InputError
from maskrt.serving.triton.repository import write_repository

from ..engine_file import write_engine


def parsed(path: Path) -> dict[str, Any]:
    """By `ModelConfig` of model_config.proto, as Triton's client package carries it."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("needs tritonclient, which carries Triton's schema")
    from google.protobuf import json_format, text_format

    file = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    message = text_format.Parse(path.read_text(encoding="utf-8"), module.ModelConfig())
    values: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return values


def test_the_configuration_is_the_contract_by_tritons_schema(
    write_onnx: Callable[[str], Path], tiny_contract: Contract, tmp_path: Path
) -> None:
    onnx = write_onnx(tiny_contract.to_json())
    (made,) = write_repository(onnx, tmp_path / "models", "net")
    assert made.file.read_bytes() == onnx.read_bytes()
    assert made.file == tmp_path / "models" / "net" / "1" / "model.onnx"
    config = parsed(tmp_path / "models" / "net" / "config.pbtxt")
    assert (config["name"], config["platform"]) == ("net", "onnxruntime_onnx")
    assert config["input"][0] == {
        "name": "images",
        "data_type": "TYPE_UINT8",
        "dims": ["2", "32", "48", "3"],
    }
    assert [output["name"] for output in config["output"]] == [
        spec.name for spec in tiny_contract.outputs
    ]
    text = config["parameters"]["maskrt.contract"]["string_value"]
    assert contract_from_json(text, "config") == tiny_contract


def test_an_engine_is_a_plan_that_says_which_tensorrt(
    tiny_contract: Contract, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path / "net.engine", tiny_contract)
    (made,) = write_repository(engine, tmp_path / "models")
    assert made.file == tmp_path / "models" / "net" / "1" / "model.plan"
    assert made.needs == "a Triton with TensorRT 10.13.3 on a GPU as NVIDIA H100"
    assert 'platform: "tensorrt_plan"' in (made.file.parents[1] / "config.pbtxt").read_text()


def test_a_bundle_is_a_model_for_each_canvas(
    write_onnx: Callable[[str], Path], tiny_contract: Contract, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    graph = write_onnx(tiny_contract.to_json()).rename(bundle / "32x48.onnx")
    weights = bundle / "weights.bin"
    weights.write_bytes(b"shared")
    write_index(bundle, [(graph, tiny_contract)], weights)
    (made,) = write_repository(bundle / "bundle.json", tmp_path / "models")
    assert made.name == "bundle-32x48"
    assert (made.file.parent / "weights.bin").read_bytes() == b"shared"


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ({"runtime": "tensorrt-rtx"}, "an engine for tensorrt-rtx; expected one for tensorrt"),
        ({"weights_sha256": {"net.onnx": "0" * 64}}, "an engine without its weights; expected"),
    ],
    ids=["rtx", "stripped"],
)
def test_what_triton_cannot_run_is_refused(
    engine: dict[str, Any], sentence: str, tiny_contract: Contract, tmp_path: Path
) -> None:
    path = write_engine(tmp_path / "net.engine", tiny_contract, **engine)
    with pytest.raises(InputError, match=sentence):
        write_repository(path, tmp_path / "models")
    assert not (tmp_path / "models" / "net").exists()


def test_names_stay_in_the_repository_and_models_stay_whole(
    tiny_contract: Contract, tmp_path: Path
) -> None:
    engine = write_engine(tmp_path / "net.engine", tiny_contract)
    with pytest.raises(InputError, match="a model's name; expected letters"):
        write_repository(engine, tmp_path / "models", "../net")
    write_repository(engine, tmp_path / "models")
    with pytest.raises(InputError, match="a model of this name found; expected a new one"):
        write_repository(engine, tmp_path / "models")


def test_names_and_classes_of_any_letters_are_quoted(
    tiny_contract: Contract, tmp_path: Path
) -> None:
    import dataclasses

    odd = dataclasses.replace(tiny_contract, class_names=('a "b" \\ c', "tasse à café"))
    write_repository(write_engine(tmp_path / "net.engine", odd), tmp_path / "models")
    config = parsed(tmp_path / "models" / "net" / "config.pbtxt")
    text = config["parameters"]["maskrt.contract"]["string_value"]
    assert tuple(json.loads(text)["class_names"]) == odd.class_names
