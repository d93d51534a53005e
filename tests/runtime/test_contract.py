from __future__ import annotations

import dataclasses
import json

import pytest

from maskrt.runtime.contract import (
    METADATA_KEY,
    Contract,
    contract_from_json,
    contract_from_metadata,
)
from maskrt.runtime.errors import ContractError, InputError


def schema_1(contract: Contract) -> str:
    """As version 0.1 wrote it."""
    raw = json.loads(contract.to_json())
    del raw["mask_threshold"], raw["mask_upsampling"]
    return json.dumps({**raw, "schema_version": 1})


def test_a_contract_is_read_as_it_was_written(proposal_contract: Contract) -> None:
    odd = dataclasses.replace(proposal_contract, mask_threshold=0.3, mask_upsampling=2)
    assert contract_from_json(odd.to_json(), "x.onnx") == odd
    assert contract_from_metadata({METADATA_KEY: odd.to_json()}, "x.onnx") == odd
    assert "category_ids" not in odd.to_json()  # so that a file without them is what it was
    with_ids = dataclasses.replace(odd, category_ids=(7,))
    assert contract_from_json(with_ids.to_json(), "x.onnx") == with_ids


def test_files_of_schema_1_open_with_what_they_meant(
    tiny_contract: Contract, proposal_contract: Contract
) -> None:
    instances = contract_from_json(schema_1(tiny_contract), "x.onnx")
    assert (instances.mask_threshold, instances.mask_upsampling) == (0.5, 1)
    proposals = contract_from_json(schema_1(proposal_contract), "x.onnx")
    assert (proposals.mask_threshold, proposals.mask_upsampling) == (0.2, 4)
    assert contract_from_json(proposals.to_json(), "x.engine.json") == proposals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "contract schema 99; this maskrt reads schema 2"),
        ({"colour": "red"}, "wrong fields .unknown 'colour'"),
        ({"resize": None}, "resize is null; expected an object"),
        ({"resize": {"short_side_px": 8}}, "no 'resize.long_side_px'"),
        ({"batch": "1"}, 'batch is "1"; expected a whole number'),
        ({"batch": True}, "batch is true; expected a whole number"),
        ({"batch": 0}, r"batch is \[0\]; expected 1 to 1048576"),
        ({"batch": 10**30}, "batch is 10+; expected less than"),
        ({"canvas_hw": {}}, r"canvas_hw is \{\}; expected a list"),
        ({"canvas_hw": [8]}, r"canvas_hw is \[8\]; expected 2 values"),
        ({"canvas_hw": ["8", 8]}, r'canvas_hw\[0\] is "8"; expected a whole number'),
        ({"canvas_hw": [8, -8]}, r"canvas_hw is \[8, -8\]; expected 1 to"),
        ({"class_names": [None]}, r"class_names\[0\] is null; expected text"),
        ({"class_names": []}, "class_names is empty"),
        ({"category_ids": ["1"]}, r"category_ids\[0\] is"),
        ({"category_ids": [1, 2, 3, 4]}, "category_ids are 4 of . classes; expected one of each"),
        ({"precision": "x"}, 'precision is "x"; expected "fp32" or "fp16" or "int8" or "fp8"'),
        ({"task": ["instances"]}, 'task is .*; expected "instances" or "detection" or'),
        ({"measured": 1}, "measured is 1; expected an object"),
        ({"measured": {"box_ap": None}}, "measured.box_ap is null; expected a number"),
        ({"mean": [1, 2, float("inf")]}, "Infinity is no number of JSON"),
        ({"mask_threshold": 0}, "mask_threshold is 0.0; expected above 0, up to 1"),
        ({"mask_upsampling": 0}, r"mask_upsampling is \[0\]; expected 1 to"),
        ({"inputs": [{"name": [[]], "shape": [1], "dtype": "uint8"}]}, r"inputs\[0\].name is"),
        ({"inputs": [{"name": "x", "shape": [0], "dtype": "uint8"}]}, "shape of 'x' is"),
        ({"inputs": [{"name": "x", "shape": [1], "dtype": "O"}]}, "dtype 'O'; expected bool,"),
        ({"variant": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_what_cannot_be_read_names_the_file(
    tiny_contract: Contract, changes: dict[str, object], message: str
) -> None:
    text = json.dumps(json.loads(tiny_contract.to_json()) | changes)
    with pytest.raises(ContractError, match=rf"^x\.onnx: .*{message}"):
        contract_from_json(text, "x.onnx")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", "[" * 100_000, '{"schema_version": "2"}'])
def test_what_is_no_contract_is_unreadable(text: str) -> None:
    with pytest.raises(ContractError, match=r"x\.onnx: the maskrt contract in it is unreadable"):
        contract_from_json(text, "x.onnx")


def test_a_file_of_something_else_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"x\.onnx: an ONNX file without a maskrt contract"):
        contract_from_metadata({"author": "somebody"}, "x.onnx")
