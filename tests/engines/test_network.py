from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from maskrt.engines.builder import build_engine
from maskrt.engines.flavours import Flavour, load_flavour
from maskrt.engines.network import make_builder
from maskrt.runtime.errors import BuildError

pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')


def constant(name: str, value: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


def graph_with(*extra: NodeProto) -> list[NodeProto]:
    """The contract's outputs, and `extra` feeding `counts` through its tensor `extra` (float)."""
    return [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT, name="to_float"),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[3], keepdims=0, name="mean"),
        helper.make_node("MatMul", ["m", "matrix"], ["scores"], name="product"),
        *extra,
        helper.make_node("ReduceSum", ["extra"], ["total"], keepdims=0, name="total"),
        helper.make_node("Cast", ["total"], ["whole"], to=TensorProto.INT32, name="whole"),
        helper.make_node("Add", ["image_sizes", "whole"], ["counts"], name="count"),
    ]


def test_operator_that_tensorrt_cannot_run_is_quoted_with_its_node(
    onnx_file: Callable[..., Path],
) -> None:
    suppress = [
        constant("boxes", np.zeros((1, 10, 4), np.float32)),
        helper.make_node("Transpose", ["m"], ["s"], perm=[0, 2, 1], name="turn"),
        constant("first", np.zeros(1, np.int64)),
        constant("last", np.full(1, 10, np.int64)),
        constant("many", np.array([3], np.int64)),
        helper.make_node("Concat", ["s", "s"], ["long"], axis=2, name="long"),
        constant("axis", np.array([2], np.int64)),
        helper.make_node("Slice", ["long", "first", "last", "axis"], ["ten"], name="ten"),
        helper.make_node("NonMaxSuppression", ["boxes", "ten", "many"], ["kept"], name="suppress"),
        helper.make_node("Cast", ["kept"], ["extra"], to=TensorProto.FLOAT, name="kept_float"),
    ]
    path = onnx_file(graph_nodes=graph_with(*suppress))
    engine = path.with_suffix(".engine")
    with pytest.raises(BuildError, match=r"node 'suppress' \(NonMaxSuppression\).*no runners"):
        build_engine(path, engine)
    assert list(path.parent.glob("*.engine*")) == []


def test_operator_that_the_parser_refuses_is_quoted_with_its_node(
    onnx_file: Callable[..., Path],
) -> None:
    text = [
        constant("pieces", np.zeros((1, 4), np.float32)),
        helper.make_node("Det", ["square"], ["extra"], name="determinant"),
    ]
    square = constant("square", np.eye(4, dtype=np.float32))
    path = onnx_file(graph_nodes=graph_with(square, *text))
    with pytest.raises(BuildError, match=r"cannot parse it: node 'determinant' \(Det\): "):
        build_engine(path, path.with_suffix(".engine"))


def test_unnamed_node_is_quoted_by_operator_and_position(onnx_file: Callable[..., Path]) -> None:
    square = constant("square", np.eye(4, dtype=np.float32))
    path = onnx_file(graph_nodes=graph_with(square, helper.make_node("Det", ["square"], ["extra"])))
    with pytest.raises(BuildError, match=r"node 'Det_4' \(Det\)"):
        build_engine(path, path.with_suffix(".engine"))


def test_plain_tensorrt_without_a_gpu_gives_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    flavour = load_flavour("tensorrt-rtx")

    def nullptr(_: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(flavour.trt, "Builder", nullptr)
    plain = Flavour(**{**vars(flavour), "name": "tensorrt", "version_text": "11.4.0"})
    with pytest.raises(
        BuildError, match=r"tensorrt 11\.4\.0.*needs an NVIDIA GPU.*'--runtime tensorrt-rtx'"
    ):
        make_builder(plain)
