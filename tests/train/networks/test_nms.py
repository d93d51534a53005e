"""The fixpoint against greedy NMS written as what it is: a loop."""

import itertools
import warnings

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from maskrt.train.networks import nms
from maskrt.train.networks.nms import BLOCK, ROUNDS, fixpoint_nms, greedy_nms, nms_bounds

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def overlap_above(boxes: Ints, tenths: int) -> Bools:
    """(K, K): IoU > tenths / 10, in whole numbers, so that nothing is rounded."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = (high - low).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = area[:, None] + area[None] - inter
    return np.asarray(10 * inter > tenths * union)


def sequential(boxes: Ints, tenths: int, labels: Ints, valid: Bools) -> Bools:
    """Take the best box left, drop what overlaps it, repeat."""
    rivals = overlap_above(boxes, tenths) & (labels[:, None] == labels[None])
    alive, kept = valid.copy(), np.zeros_like(valid)
    while alive.any():
        best = int(np.argmax(alive))
        kept[best] = True
        alive &= ~rivals[best]
        alive[best] = False
    return kept


def clustered(rng: np.random.Generator, count: int) -> Ints:
    """(count, 4) boxes around a few places, corners whole numbers below 300."""
    places = rng.integers(60, 200, (rng.integers(1, 9), 2))
    spread = rng.integers(1, 25)
    centers = places[rng.integers(len(places), size=count)] + rng.integers(
        -spread, spread + 1, (count, 2)
    )
    half = rng.integers(8, 35, (count, 2)) if rng.random() < 0.5 else np.full((count, 2), 30)
    return np.concatenate((centers - half, centers + half), axis=1)


def chain(links: int) -> torch.Tensor:
    """(1, links + 1, 4): each box overlaps the next with IoU 0.6 and the one after with 0.33."""
    left = 10.0 * torch.arange(links + 1)
    zero = torch.zeros_like(left)
    return torch.stack((left, zero, left + 40, zero + 10), dim=1)[None]


def rough_chains(rng: np.random.Generator, labels: Ints) -> Ints:
    """(K, 4): the boxes of each label in a row, each overlapping two or three neighbours."""
    place = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)])
    left = 10 * place + rng.integers(-3, 4, len(labels))
    zero = np.zeros_like(left)
    return np.stack((left, zero, left + 40, zero + 10), axis=1)


def everything(boxes: torch.Tensor) -> torch.Tensor:
    return torch.ones(boxes.shape[:2], dtype=torch.bool)


def chain_kept(links: int) -> list[bool]:
    return [i % 2 == 0 for i in range(links + 1)]


def kept_in_blocks(
    boxes: torch.Tensor,
    valid: torch.Tensor,
    iou: float,
    labels: torch.Tensor | None = None,
    **sizes: int,
) -> torch.Tensor:
    """`fixpoint_nms` with other sizes than it ships with: the upper bound."""
    return nms_bounds(boxes, valid, iou, labels, **sizes)[0]


def within(inner: torch.Tensor, outer: torch.Tensor) -> bool:
    return bool((outer | ~inner).all())


@pytest.mark.parametrize("block", [7, 50, BLOCK])
def test_the_rounds_equal_the_loop_on_random_sets(block: int) -> None:
    for tenths, classes in itertools.product((3, 5, 7), (1, 3)):
        rng = np.random.default_rng([tenths, classes])
        suppressed = 0
        for _ in range(84):  # x 2 images x 6 cases: 1,008 sets for each block size
            count = int(rng.integers(1, 201))
            boxes = np.stack([clustered(rng, count) for _ in range(2)])
            labels = rng.integers(0, classes, (2, count))
            valid = rng.random((2, count)) < rng.choice([0.5, 1.0])
            found = kept_in_blocks(
                torch.tensor(boxes, dtype=torch.float32),
                torch.tensor(valid),
                tenths / 10,
                torch.tensor(labels) if classes > 1 else None,
                block=block,
            ).numpy()
            expected = np.stack(
                [sequential(*case) for case in zip(boxes, [tenths] * 2, labels, valid, strict=True)]
            )
            assert np.array_equal(found, expected), (tenths, classes)
            suppressed += int((valid & ~expected).sum())
        assert suppressed > 1000  # the sets are no walk-over


@pytest.mark.parametrize("pairs", [nms.PAIRS, 1])
def test_greedy_nms_equals_the_loop_in_every_row(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nms, "PAIRS", pairs)  # of rows together: all, one
    for tenths in (3, 5, 7):
        rng = np.random.default_rng(tenths)
        for count in rng.integers(1, 201, 14).tolist():
            boxes = np.stack([clustered(rng, count) for _ in range(3)])
            valid = rng.random((3, count)) < 0.9
            one = np.zeros(count, np.int64)
            expected = [
                sequential(row, tenths, one, here) for row, here in zip(boxes, valid, strict=True)
            ]
            found = greedy_nms(
                torch.from_numpy(boxes).float(), torch.from_numpy(valid), tenths / 10
            )
            assert np.array_equal(found.numpy(), np.stack(expected)), tenths


def test_more_boxes_than_a_block_of_the_shipped_size() -> None:
    rng = np.random.default_rng(0)
    count = 2 * BLOCK + 100
    low = rng.integers(0, 1000, (count, 2))
    boxes = np.concatenate((low, low + rng.integers(30, 200, (count, 2))), axis=1)
    labels = rng.integers(0, 2, count)
    for pairs in (np.zeros(count, np.int64), labels):
        expected = sequential(boxes, 5, pairs, np.ones(count, np.bool_))
        tensors = torch.tensor(boxes[None], dtype=torch.float32), torch.tensor(pairs[None])
        found = fixpoint_nms(tensors[0], everything(tensors[0]), 0.5, tensors[1])
        assert np.array_equal(found[0].numpy(), expected)
        assert 1000 < expected.sum() < count - 1000


def test_chains_up_to_the_number_of_rounds_are_exact() -> None:
    for links in range(ROUNDS + 1):
        boxes = chain(links)
        assert fixpoint_nms(boxes, everything(boxes), 0.5)[0].tolist() == chain_kept(links)
        assert greedy_nms(boxes, everything(boxes), 0.5)[0].tolist() == chain_kept(links)


@pytest.mark.parametrize("labelled", [False, True], ids=["one class", "two classes"])
def test_a_chain_over_many_blocks_is_exact_when_no_block_holds_too_much_of_it(
    labelled: bool,
) -> None:
    links = 5 * ROUNDS + 3
    boxes, labels, expected = chain(links), None, torch.tensor([chain_kept(links)])
    if labelled:  # two such chains in one place, box by box in turn
        boxes = boxes.repeat_interleave(2, dim=1)
        labels = torch.arange(boxes.shape[1])[None] % 2
        expected = expected.repeat_interleave(2, dim=1)
    for block in range(1, ROUNDS + 1):
        for found in nms_bounds(boxes, everything(boxes), 0.5, labels, block=block):
            assert torch.equal(found, expected), block


def test_past_the_limit_the_bounds_enclose_the_answer() -> None:
    boxes = chain(ROUNDS + 8)
    exact = greedy_nms(boxes, everything(boxes), 0.5)[0]
    assert exact.tolist() == chain_kept(ROUNDS + 8)
    for rounds in range(2, ROUNDS + 8, 2):
        upper, lower = nms_bounds(boxes, everything(boxes), 0.5, rounds=rounds)
        assert within(lower[0], exact)
        assert within(exact, upper[0])
        assert not torch.equal(lower, upper)
    upper, _ = nms_bounds(boxes, everything(boxes), 0.5, rounds=ROUNDS + 8)
    assert torch.equal(upper[0], exact)


@pytest.mark.parametrize("classes", [1, 3], ids=["one class", "three classes"])
def test_past_the_limit_nothing_greedy_keeps_is_lost_in_any_block(classes: int) -> None:
    for rounds, block in itertools.product((2, 4), (3, 5, 8, 20, 60)):
        rng = np.random.default_rng([rounds, block, classes])
        truncated = 0
        for _ in range(60):
            count = int(rng.integers(20, 121))
            labels, valid = rng.integers(0, classes, count), rng.random(count) < 0.95
            boxes = rough_chains(rng, labels)
            exact = torch.tensor(sequential(boxes, 3, labels, valid))[None]
            inputs = [torch.tensor(e[None]) for e in (boxes.astype(np.float32), valid, labels)]
            upper, lower = nms_bounds(
                inputs[0], inputs[1], 0.3, inputs[2], block=block, rounds=rounds
            )
            assert within(lower, exact)
            assert within(exact, upper)
            assert within(upper, inputs[1])
            truncated += not torch.equal(upper, lower)
            assert torch.equal(upper, exact) or not torch.equal(upper, lower)
        assert truncated or block < 2 * rounds  # the limit was really reached


def test_what_an_overlong_chain_keeps_too_much_does_not_suppress_later_blocks() -> None:
    links = ROUNDS + 1  # its last box is kept although greedy NMS drops it
    left = 10.0 * (links + 1)  # overlaps that last box and no other
    boxes = torch.cat((chain(links), torch.tensor([[[left, 0, left + 40, 10]]])), dim=1)
    exact = greedy_nms(boxes, everything(boxes), 0.5)[0]
    assert exact.tolist() == [*chain_kept(links), True]
    (found,) = kept_in_blocks(boxes, everything(boxes), 0.5, block=links + 1)
    assert (found != exact).nonzero().flatten().tolist() == [links]
    assert found[links]


def test_the_shortest_chain_past_the_limit_differs() -> None:
    boxes = chain(ROUNDS + 1)
    (found,) = fixpoint_nms(boxes, everything(boxes), 0.5)
    assert (found != greedy_nms(boxes, everything(boxes), 0.5)[0]).tolist() == [False] * (
        ROUNDS + 1
    ) + [True]
    assert found[-1]


def test_overlap_of_exactly_the_threshold_suppresses_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 5]]])  # IoU 0.5
    for block in (1, BLOCK):
        assert kept_in_blocks(boxes, everything(boxes), 0.5, block=block).all()
        found = kept_in_blocks(boxes, everything(boxes), 0.49, block=block)
        assert found.tolist() == [[True, False]]


def test_invalid_boxes_suppress_nothing_and_are_not_kept() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 3])
    valid = torch.tensor([[False, True, True]])
    for block in (1, 2, BLOCK):
        found = kept_in_blocks(boxes, valid, 0.5, block=block)
        assert found.tolist() == [[False, True, False]]
        assert not kept_in_blocks(boxes, torch.zeros_like(valid), 0.5, block=block).any()


def test_empty_boxes_suppress_nothing() -> None:
    boxes = torch.zeros(1, 3, 4)
    for block in (1, BLOCK):
        assert kept_in_blocks(boxes, everything(boxes), 0.5, block=block).all()


def test_no_boxes_are_kept_of_none() -> None:
    none = torch.zeros(2, 0, 4)
    assert greedy_nms(none, everything(none), 0.5).shape == (2, 0)


def exported(block: int) -> onnx.ModelProto:
    """Two pictures of 70 boxes with labels."""

    class Suppression(nn.Module):
        def forward(self, boxes: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
            return nms_bounds(boxes, valid, 0.5, labels, block=block, rounds=4)[0]

    shape = (2, 70)
    example = (
        torch.zeros(*shape, 4),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.int64),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
        program = torch.onnx.export(
            Suppression().eval(), example, dynamo=True, opset_version=18, verbose=False
        )
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize("block", [40, 70], ids=["two blocks", "one block"])
def test_the_exported_fixpoint_is_the_same_and_tensorrt_rtx_builds_it(block: int) -> None:
    model = exported(block).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    rng = np.random.default_rng(block)
    for _ in range(40):
        boxes = np.stack([clustered(rng, 70) for _ in range(2)]).astype(np.float32)
        labels, valid = rng.integers(0, 2, (2, 70)), rng.random((2, 70)) < 0.8
        (found,) = session.run(None, dict(zip(names, (boxes, valid, labels), strict=True)))
        tensors = [torch.from_numpy(each) for each in (boxes, valid, labels)]
        expected = kept_in_blocks(*tensors[:2], 0.5, tensors[2], block=block, rounds=4)
        assert np.array_equal(found, expected.numpy())
        assert 2 <= found.sum() < valid.sum()
    assert built(model)


def built(model: bytes) -> bool:
    """Whether TensorRT-RTX parses the model and builds an engine of it."""
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model), parser.get_error(0).desc()
    return builder.build_serialized_network(network, builder.create_builder_config()) is not None
