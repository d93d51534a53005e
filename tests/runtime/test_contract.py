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
        ({"colour": "red"}, "wrong fields"),
        ({"resize": None}, "wrong fields"),
    ],
)
def test_what_cannot_be_read_names_the_file(
    tiny_contract: Contract, changes: dict[str, object], message: str
) -> None:
    text = json.dumps(json.loads(tiny_contract.to_json()) | changes)
    with pytest.raises(ContractError, match=rf"^x\.onnx: .*{message}"):
        contract_from_json(text, "x.onnx")


@pytest.mark.parametrize("text", ["{", "[1]", "{}"])
def test_what_is_no_contract_is_unreadable(text: str) -> None:
    with pytest.raises(ContractError, match=r"x\.onnx: the maskrt contract in it is unreadable"):
        contract_from_json(text, "x.onnx")


def test_a_file_of_something_else_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"x\.onnx: an ONNX file without a maskrt contract"):
        contract_from_metadata({"author": "somebody"}, "x.onnx")
