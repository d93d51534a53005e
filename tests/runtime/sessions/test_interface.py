from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import ContractError
from maskrt.runtime.sessions.interface import check_inputs

IMAGES = np.zeros((2, 32, 48, 3), np.uint8)
SIZES = np.array([[32, 48], [1, 1]], np.int32)


def test_a_batch_of_the_contract_passes(tiny_contract: Contract) -> None:
    check_inputs(tiny_contract, IMAGES, SIZES)


@pytest.mark.parametrize(
    ("images", "sizes", "message"),
    [
        (IMAGES[:1], SIZES, r"'images' got \(1, 32, 48, 3\) uint8; expected \(2, 32, 48, 3\)"),
        (IMAGES.astype(np.float32), SIZES, "'images' got .* float32; expected .* uint8"),
        (IMAGES, SIZES.astype(np.int64), "'image_sizes' got .* int64; expected .* int32"),
        (IMAGES, SIZES[0], r"'image_sizes' got \(2,\) int32"),
        (IMAGES, np.array([[33, 48], [1, 1]], np.int32), r"\[\[33, 48\], \[1, 1\]\]"),
        (IMAGES, np.array([[32, 48], [0, 1]], np.int32), "within 1 x 1 and the canvas"),
    ],
    ids=["batch", "image dtype", "size dtype", "size shape", "beyond canvas", "zero"],
)
def test_what_differs_is_named(
    tiny_contract: Contract, images: np.ndarray, sizes: np.ndarray, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        check_inputs(tiny_contract, images, sizes)


def test_an_artefact_without_image_sizes_is_refused(tiny_contract: Contract) -> None:
    foreign = dataclasses.replace(tiny_contract, inputs=tiny_contract.inputs[:1])
    with pytest.raises(ContractError, match="no input 'image_sizes'; the artefact has images"):
        check_inputs(foreign, IMAGES, SIZES)
