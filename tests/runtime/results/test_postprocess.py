from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.contract import Contract, Outputs
from maskrt.runtime.errors import ContractError
from maskrt.runtime.results.postprocess import instances_from_outputs


@pytest.fixture
def outputs() -> Outputs:
    """Slot 0 of batch entry 1 covers the valid 16 x 48; slot 1 lies on the canvas outside it."""
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[1] = [[0, 0, 48, 16], [4, 20, 8, 30], [24, 8, 60, 16]]
    scores = np.array([[0, 0, 0], [0.9, 0.8, 0.7]], np.float32)
    labels = np.array([[0, 0, 0], [1, 0, 1]], np.int32)
    masks = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1).repeat(4, 2).repeat(4, 3) / 6
    return {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        "masks": masks,
        "counts": np.array([0, 3], np.int32),
    }


def test_boxes_are_scaled_clipped_and_empty_ones_dropped_with_their_masks(
    outputs: Outputs, tiny_contract: Contract
) -> None:
    found = instances_from_outputs(outputs, 1, (100, 300), (16, 48), tiny_contract)
    assert found.image_hw == (100, 300)
    assert found.boxes.tolist() == [[0, 0, 300, 100], [150, 50, 300, 100]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.labels.tolist() == [1, 1]
    assert found.mask_probs[:, 0, 0].tolist() == pytest.approx([3 / 6, 5 / 6])
    assert found.class_names == ("disc", "star")
    assert found.mask_threshold == 0.5


def test_each_axis_has_its_own_scale(outputs: Outputs, tiny_contract: Contract) -> None:
    outputs["boxes"][1, 0] = [10, 10, 20, 12]
    found = instances_from_outputs(outputs, 1, (64, 96), (16, 48), tiny_contract)
    assert found.boxes[0].tolist() == [20, 40, 40, 48]


def test_slots_past_the_count_are_not_read(outputs: Outputs, tiny_contract: Contract) -> None:
    outputs["counts"][1] = 1
    outputs["boxes"][1, 1:] = 1000
    assert len(instances_from_outputs(outputs, 1, (16, 48), (16, 48), tiny_contract)) == 1
    assert len(instances_from_outputs(outputs, 0, (16, 48), (16, 48), tiny_contract)) == 0


def test_instances_do_not_alias_the_sessions_arrays(
    outputs: Outputs, tiny_contract: Contract
) -> None:
    found = instances_from_outputs(outputs, 1, (16, 48), (16, 48), tiny_contract)
    for array in outputs.values():
        array[...] = 0
    assert found.scores[0] == np.float32(0.9)
    assert found.mask_probs.any()


@pytest.mark.parametrize("count", [-1, 4])
def test_an_impossible_count_is_refused(
    outputs: Outputs, tiny_contract: Contract, count: int
) -> None:
    outputs["counts"][1] = count
    with pytest.raises(ContractError, match=rf"counts\[1\] is {count}; expected 0\.\.3"):
        instances_from_outputs(outputs, 1, (16, 48), (16, 48), tiny_contract)


def test_a_missing_output_is_named(outputs: Outputs, tiny_contract: Contract) -> None:
    del outputs["masks"]
    with pytest.raises(ContractError, match="no output masks among boxes, scores"):
        instances_from_outputs(outputs, 1, (16, 48), (16, 48), tiny_contract)
