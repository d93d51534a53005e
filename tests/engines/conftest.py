"""Tiny exported models, made in code: what `maskrt export` writes, in a few nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from maskrt.runtime.contract import METADATA_KEY, Contract, ResizeRule, TensorSpec

IMAGES = TensorSpec("images", (1, 8, 8, 3), "uint8")
IMAGE_SIZES = TensorSpec("image_sizes", (1, 2), "int32")
SCORES = TensorSpec("scores", (1, 8, 4), "float32")
COUNTS = TensorSpec("counts", (1, 2), "int32")

# Conv 1x4x8x8 outputs, 3x3x3 products each; MatMul 1x8x4 outputs, 8 products each.
CONV_MACS = 4 * 8 * 8 * 27
MATMUL_MACS = 8 * 4 * 8


def contract(precision: str = "fp16") -> Contract:
    return Contract(
        model="mask_rcnn",
        variant="two_layers",
        task="instances",
        class_names=("thing",),
        canvas_hw=(8, 8),
        batch=1,
        resize=ResizeRule(8, 8),
        channel_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        inputs=(IMAGES, IMAGE_SIZES),
        outputs=(SCORES, COUNTS),
        precision="fp16" if precision == "fp16" else "fp32",
        operators=("MaskrtTwice",),
        checkpoint_sha256="0" * 64,
    )


def twice() -> onnx.FunctionProto:
    """The local function `maskrt::MaskrtTwice`."""
    body = [helper.make_node("Add", ["X", "X"], ["Y"], name="add_twice")]
    return helper.make_function(
        "maskrt", "MaskrtTwice", ["X"], ["Y"], body, [helper.make_opsetid("", 17)]
    )


def nodes() -> list[onnx.NodeProto]:
    """uint8 canvas -> FP16 convolution -> custom operator -> FP32 product; sizes pass through."""
    return [
        helper.make_node("Cast", ["images"], ["half"], to=TensorProto.FLOAT16, name="to_half"),
        helper.make_node("Transpose", ["half"], ["chw"], perm=[0, 3, 1, 2], name="to_chw"),
        helper.make_node("Conv", ["chw", "weight"], ["features"], pads=[1] * 4, name="conv"),
        helper.make_node("MaskrtTwice", ["features"], ["more"], domain="maskrt", name="custom"),
        helper.make_node("Cast", ["more"], ["wide"], to=TensorProto.FLOAT, name="to_float"),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1], keepdims=0, name="mean"),
        helper.make_node("MatMul", ["mean", "matrix"], ["scores"]),
        helper.make_node("Add", ["image_sizes", "image_sizes"], ["counts"], name="count"),
    ]


def values(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
    types = {n: helper.np_dtype_to_tensor_dtype(np.dtype(n)) for n in {s.dtype for s in specs}}
    return [helper.make_tensor_value_info(s.name, types[s.dtype], list(s.shape)) for s in specs]


def model(
    graph_nodes: list[onnx.NodeProto] | None = None,
    carried: Contract | None = None,
    functions: Sequence[onnx.FunctionProto] | None = None,
    graph_inputs: list[onnx.ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    carried = carried or contract()
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float16), "weight"),
        numpy_helper.from_array(rng.normal(size=(8, 4)).astype(np.float32), "matrix"),
    ]
    graph = helper.make_graph(
        graph_nodes or nodes(),
        "tiny",
        graph_inputs or values((IMAGES, IMAGE_SIZES)),
        values((SCORES, COUNTS)),
        weights,
    )
    built = helper.make_model(
        graph,
        functions=[twice()] if functions is None else list(functions),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("maskrt", 1)],
        ir_version=8,
    )
    helper.set_model_props(built, {METADATA_KEY: carried.to_json()})
    return built


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny model; keyword arguments as `model`."""

    def write(name: str = "tiny.onnx", **options: Any) -> Path:
        path = tmp_path / name
        onnx.save(model(**options), str(path))
        return path

    return write


@pytest.fixture
def tiny_onnx(onnx_file: Callable[..., Path]) -> Path:
    return onnx_file()


@pytest.fixture
def fp32_contract() -> Contract:
    return dataclasses.replace(contract(), precision="fp32")
