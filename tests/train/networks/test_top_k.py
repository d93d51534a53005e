"""`top_k` against torch.topk, in ONNX Runtime and as TensorRT-RTX reads it."""

import functools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from maskrt.train.networks import top_k as module
from maskrt.train.networks.nms import NEVER
from maskrt.train.networks.top_k import LIMIT, top_k

WANTED = 6000


class Choice(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        return top_k(scores, self.k)


def kinds_of_scores(count: int = 9000) -> dict[str, Tensor]:
    """(2, count) float32 each; what they may break is in the name."""
    torch.manual_seed(0)
    shape = (2, count)
    ranks = torch.arange(count, dtype=torch.float32).expand(shape).contiguous()
    few = torch.where(torch.rand(shape) < 0.02, torch.randn(shape), NEVER)
    lowest = torch.finfo(torch.float32).min
    return {
        "random": torch.randn(shape),
        "falling": -ranks,
        "rising": ranks,
        "few values, many ties": torch.randint(0, 5, shape).float(),
        "ties across the first part's end": torch.where(ranks < LIMIT - 10, 1.0, 0.0),
        "all equal": torch.zeros(shape),
        "nothing may be chosen": torch.full(shape, NEVER),
        "less than one part may be chosen": few,
        "next to the mark": torch.nextafter(torch.full(shape, lowest), ranks),
        "infinite": torch.where(ranks % 3 == 0, torch.inf, ranks),
    }


def assert_best(scores: Tensor, k: int, values: Tensor, index: Tensor) -> None:
    """The k best in falling order, each value at its place, no place twice in a row."""
    expected = scores.sort(dim=1, descending=True).values[:, :k]
    assert torch.equal(values, expected)
    assert index.dtype == torch.int64
    assert torch.equal(scores.gather(1, index), values)
    assert all(len(set(row)) == expected.shape[1] for row in index.tolist())


def test_the_best_k_in_falling_order() -> None:
    for kind, scores in kinds_of_scores().items():
        for k in (1, LIMIT - 1, LIMIT, LIMIT + 1, WANTED, 2 * LIMIT, 8999, 9000):
            values, index = top_k(scores, k)
            assert_best(scores, k, values, index)
            assert torch.equal(values, torch.topk(scores, k, dim=1).values), (kind, k)


def test_fewer_scores_than_asked_for_all_come_out() -> None:
    for count in (1, 100, LIMIT, LIMIT + 1, WANTED - 1):
        scores = kinds_of_scores(count)["random"]
        assert_best(scores, count, *top_k(scores, WANTED))


def test_many_short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 3)
    for seed in range(200):
        torch.manual_seed(seed)
        scores = torch.randint(0, 4, (3, 17)).float()
        for k in (1, 3, 4, 9, 16, 17, 18):
            assert_best(scores, k, *top_k(scores, k))


def test_no_part_asks_for_more_than_tensorrt_takes() -> None:
    parts = [LIMIT, LIMIT, 9000 - 2 * LIMIT]
    assert top_k_shapes(exported(9000, 9000)) == [[2, size] for size in parts]


def test_what_one_node_can_choose_takes_one_node() -> None:
    operators = [node.op_type for node in exported(9000, LIMIT).graph.node]
    assert operators.count("TopK") == 1
    assert not {"ScatterElements", "Concat"} & {*operators}


def test_onnx_runtime_chooses_the_same() -> None:
    session = onnxruntime.InferenceSession(
        exported(9000, WANTED).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    for kind, scores in kinds_of_scores().items():
        values, index = session.run(None, {name: scores.numpy()})
        assert_best(scores, WANTED, torch.from_numpy(values), torch.from_numpy(index))
        stable = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :WANTED]
        assert np.array_equal(index, stable), kind  # of equal scores the earlier, over all parts


def test_tensorrt_rtx_builds_it() -> None:
    assert built(exported(9000, WANTED))
    assert built(exported(9000, LIMIT + 1, batch=1))


def test_tensorrt_rtx_does_not_build_one_node_past_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert built(exported(8000, LIMIT))
    monkeypatch.setattr(module, "LIMIT", LIMIT + 1)
    assert not built(exported(8000, LIMIT + 1))  # else LIMIT can rise


@functools.cache
def exported(count: int, k: int, batch: int = 2) -> onnx.ModelProto:
    example = (torch.zeros(batch, count),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
        program = torch.onnx.export(
            Choice(k).eval(), example, dynamo=True, opset_version=18, verbose=False
        )
    assert program is not None
    return program.model_proto


def top_k_shapes(model: onnx.ModelProto) -> list[list[int]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.value_info, *inferred.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return [shapes[node.output[0]] for node in inferred.node if node.op_type == "TopK"]


def built(model: onnx.ModelProto) -> bool:
    """Whether TensorRT-RTX parses the model and builds an engine of it."""
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        return False
    return builder.build_serialized_network(network, builder.create_builder_config()) is not None
