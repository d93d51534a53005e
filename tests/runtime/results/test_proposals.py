"""FastMask's outputs to instances: windows, tight boxes, suppression, pictures of odd sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.closing import Closing
from maskrt.runtime.contract import Contract, Outputs
from maskrt.runtime.errors import ContractError, InputError
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.results.mask_upsampling import upsampled
from maskrt.runtime.results.masks import paste_masks
from maskrt.runtime.results.postprocess import instances_from_outputs
from maskrt.runtime.sessions.interface import Backend, check_inputs

Float = npt.NDArray[np.float32]


def sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)


def blob(cells: int = 10, radius: float = 0.3) -> Float:
    """(m, m) probabilities of a soft disc in the middle."""
    y, x = (np.mgrid[:cells, :cells] + 0.5) / cells - 0.5
    return sigmoid(30 * (radius - np.hypot(x, y))).astype(np.float32)


@pytest.fixture
def proposals_outputs() -> Outputs:
    """A disc inside, one half outside at the left, one mask below 0.2, one window outside."""
    faint = np.full((10, 10), 0.1, np.float32)
    return {
        "windows": np.array(
            [[[8, 4, 24, 20], [-8, 8, 8, 24], [0, 0, 16, 16], [-40, -40, -24, -24]]], np.float32
        ),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6]], np.float32),
        "masks": np.stack((blob(), blob(), faint, blob()))[None],
        "counts": np.array([4], np.int32),
    }


def test_windows_are_scaled_unclipped_and_boxes_are_those_of_the_masks(
    proposals_outputs: Outputs, proposal_contract: Contract
) -> None:
    found = instances_from_outputs(proposals_outputs, 0, (96, 96), (32, 48), proposal_contract)
    assert found.frames is not None
    assert found.frames.tolist() == [[16, 12, 48, 60], [-16, 24, 16, 72]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.labels.tolist() == [0, 0]
    assert found.class_names == ("object",)
    assert found.mask_threshold == 0.2
    assert np.array_equal(found.mask_probs, proposals_outputs["masks"][0, :2])
    pasted = paste_masks(
        upsampled(proposals_outputs["masks"][0, :2], 4), found.frames, (96, 96), 0.2
    )
    assert np.array_equal(found.masks, pasted)
    for box, mask in zip(found.boxes, pasted, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert found.boxes[1, 0] == 0  # cut by the picture's edge, not by the window's


def test_boxes_are_coco_tobbox_of_the_masks() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(-30, 60, (60, 2))
    sides = rng.uniform(1, 70, (60, 1))
    windows = np.concatenate((corners, corners + sides), axis=1).astype(np.float32)
    masks = rng.uniform(0, 0.4, (60, 10, 10)).astype(np.float32)
    found = Instances(
        image_hw=(50, 60),
        boxes=windows,
        scores=np.ones(60, np.float32),
        labels=np.zeros(60, np.int32),
        mask_probs=masks,
        class_names=("object",),
        mask_threshold=0.2,
        mask_upsampling=4,
    ).tightened()
    assert 20 < len(found) < 60
    rows = found.to_coco(3)
    for row, rle in zip(rows, found.rles(), strict=True):
        assert row["bbox"] == coco_mask.toBbox(rle).tolist()
        assert (row["category_id"], row["image_id"]) == (1, 3)
        assert row["segmentation"] == rle


def test_kept_proposals_hand_on_their_pasted_masks(
    proposals_outputs: Outputs, proposal_contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = instances_from_outputs(proposals_outputs, 0, (96, 96), (32, 48), proposal_contract)
    alone = found.above(0.85)
    expected = found.rles()[0]

    def fail(*_: object) -> None:
        raise AssertionError("pasted twice")

    monkeypatch.setattr("maskrt.runtime.results.pasting.paste_one", fail)
    assert alone.rles() == [expected]
    assert alone.frames is not None
    assert alone.frames.tolist() == [[16, 12, 48, 60]]


def test_a_missing_output_of_proposals_is_named(
    proposals_outputs: Outputs, proposal_contract: Contract
) -> None:
    del proposals_outputs["windows"]
    with pytest.raises(ContractError, match=r"no output windows .* expected windows, scores"):
        instances_from_outputs(proposals_outputs, 0, (96, 96), (32, 48), proposal_contract)


@pytest.mark.parametrize("name", ["windows", "scores", "masks"])
def test_nan_is_not_passed_over(
    proposals_outputs: Outputs, proposal_contract: Contract, name: str
) -> None:
    proposals_outputs[name][0, 1] = np.nan
    with pytest.raises(ContractError, match=r"nan|NaN"):
        instances_from_outputs(proposals_outputs, 0, (96, 96), (32, 48), proposal_contract)


class WindowSession(Closing):
    """A `Session` whose windows cover the valid area: the whole of it, the same again, its left
    half, and one that starts outside; as many of them as `count` says."""

    backend = Backend("scripted", "cpu", "fp32", "scripted")
    on_device = None

    def __init__(self, contract: Contract, count: int = 4) -> None:
        self.contract, self.count = contract, count

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        check_inputs(self.contract, images, image_sizes)
        outputs = {o.name: np.zeros(o.shape, o.dtype) for o in self.contract.outputs}
        height, width = (int(side) for side in image_sizes[0])
        windows = [
            [0, 0, width, height],
            [0, 0, width, height],
            [0, 0, width / 2, height],
            [-width, 0, width, height],
        ]
        kept = slice(0, self.count)
        outputs["windows"][0, kept] = np.array(windows, np.float32)[kept]
        outputs["scores"][0, kept] = np.array([0.9, 0.8, 0.7, 0.6], np.float32)[kept]
        outputs["masks"][0, kept] = 0.95
        outputs["counts"][:] = self.count
        return outputs

    def close(self) -> None:
        pass


@pytest.mark.parametrize("image_hw", [(1, 1), (20, 5000), (5000, 20), (33, 47)])
def test_pictures_of_any_shape_go_through(
    proposal_contract: Contract, image_hw: tuple[int, int]
) -> None:
    height, width = image_hw
    image = np.full((*image_hw, 3), 90, np.uint8)
    (found,) = Predictor(WindowSession(proposal_contract)).predict([image])
    whole = [0, 0, width, height]
    assert found.boxes[[0, 1, 3]].tolist() == [whole, whole, whole]
    assert found.boxes[2, 2] == pytest.approx(width / 2, abs=0.04 * width + 1)  # 0.2 of 0.95 fades
    assert found.masks[0].all()
    assert found.draw(image).shape == image.shape
    assert found.to_coco(1)[0]["bbox"] == whole


def test_proposals_are_drawn_without_words_in_colours_of_their_windows(
    proposal_contract: Contract,
) -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    (found,) = Predictor(WindowSession(proposal_contract)).predict([image])
    drawn = found.draw(image)
    named = dataclasses.replace(found, class_names=("a longer name",)).draw(image)
    assert np.array_equal(drawn, named)
    first, second = (found._take(np.array([n])).draw(image, 0)[100, 20] for n in (0, 2))
    assert tuple(first) != tuple(second)
    assert tuple(first) == tuple(found._take(np.array([0])).draw(image, 0.1)[100, 20])


def test_a_picture_without_proposals_goes_through(proposal_contract: Contract) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    predictor = Predictor(WindowSession(proposal_contract, count=0), nms_iou=0.5)
    (found,) = predictor.predict([image])
    assert len(found) == 0
    assert found.masks.shape == (0, 40, 60)
    assert found.to_coco(1) == []
    assert np.array_equal(found.draw(image), image)


def test_suppression_is_an_option_of_the_predictor(proposal_contract: Contract) -> None:
    session, image = WindowSession(proposal_contract), np.zeros((40, 60, 3), np.uint8)
    (kept,) = Predictor(session, nms_iou=0.7).predict([image])
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("nms_iou", [0.0, -1.0, 1.1, float("nan")])
def test_a_suppression_out_of_range_is_refused(proposal_contract: Contract, nms_iou: float) -> None:
    with pytest.raises(InputError, match=r"mask suppression at IoU .*: expected above 0"):
        Predictor(WindowSession(proposal_contract), nms_iou=nms_iou)
