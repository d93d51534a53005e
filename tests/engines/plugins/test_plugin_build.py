"""`maskrt build --operators`: real TensorRT-RTX builds, and what is chosen for other flavours."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import maskrt.engines.plugins
from maskrt.engines.builder import build_engine
from maskrt.engines.compatibility import Compatibility
from maskrt.engines.flavours import Flavour, flavour_of, load_flavour
from maskrt.engines.inline import keep_bounds_named, portable_model, read_exported
from maskrt.engines.network import make_builder, parse_network
from maskrt.engines.plugins import choice as operator_choice
from maskrt.engines.plugins.choice import (
    Prepared,
    choose_operators,
    prepare_operators,
    register_plugins,
)
from maskrt.export.operators.local_functions import add_functions
from maskrt.runtime.contract import Contract, TensorSpec
from maskrt.runtime.errors import BuildError
from maskrt.runtime.gpu.cuda import DeviceInfo
from maskrt.runtime.gpu.kernels.shipped import FOLDER, MANIFEST
from maskrt.runtime.sessions.inlined import inlined_model

pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')

L4 = DeviceInfo("NVIDIA L4", "8.9", "13.0", 24 << 30)
V100 = DeviceInfo("NVIDIA V100", "7.0", "13.0", 32 << 30)
ROI_SHAPE, WINDOW_SHAPE = (2, 4, 3, 3), (2, 2, 2, 4)


def constant(name: str, value: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


def two_operators() -> list[NodeProto]:
    """FP16 features (1, 4, 8, 8) through both operators into the contract's outputs."""
    boxes = np.array([[[0, 0, 64, 64], [16, 32, 120, 100]]], np.float32)
    return [
        helper.make_node("Cast", ["images"], ["half"], to=TensorProto.FLOAT16, name="to_half"),
        helper.make_node("Transpose", ["half"], ["chw"], perm=[0, 3, 1, 2], name="to_chw"),
        helper.make_node("Conv", ["chw", "weight"], ["features"], pads=[1] * 4, name="conv"),
        constant("boxes", boxes),
        helper.make_node(
            "MaskrtRoiAlign", ["features", "boxes"], ["bins"], "align", domain="maskrt",
            output_size=3, spatial_scale=1 / 16, sampling_ratio=0,
        ),
        helper.make_node("ReduceMean", ["bins"], ["mean"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Transpose", ["features"], ["hwc"], perm=[0, 2, 3, 1], name="to_hwc"),
        constant("cells", np.array([1, 64, 4], np.int64)),
        helper.make_node("Reshape", ["hwc", "cells"], ["pyramid"], name="pack"),
        constant("index", np.array([[0, 40]], np.int64)),
        helper.make_node(
            "MaskrtWindowAlign", ["pyramid", "index"], ["windows"], "window", domain="maskrt",
            size=2, spatial_shapes=[8, 8],
        ),
        constant("rows", np.array([1, 8, 4], np.int64)),
        helper.make_node("Reshape", ["windows", "rows"], ["flat"], name="flatten"),
        helper.make_node("Add", ["flat", "mean"], ["sum"], name="sum"),
        helper.make_node("Cast", ["sum"], ["scores"], to=TensorProto.FLOAT, name="to_float"),
        helper.make_node("Add", ["image_sizes", "image_sizes"], ["counts"], name="count"),
    ]  # fmt: skip


@pytest.fixture
def exported(onnx_file: Callable[..., Path], fp32_contract: Contract) -> Path:
    """A model with both operators, as export writes them."""
    names = ("MaskrtRoiAlign", "MaskrtWindowAlign")
    carried = dataclasses.replace(fp32_contract, precision="fp16", operators=names)
    path = onnx_file(graph_nodes=two_operators(), carried=carried, functions=())
    onnx.save(add_functions(onnx.load(path)), path)
    return path


def change(path: Path, name: str, **attributes: Any) -> None:
    """Give one node other attributes; None takes one away."""
    model = onnx.load(path)
    (node,) = (n for n in model.graph.node if n.name == name)
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    given = {key: value for key, value in attributes.items() if value is not None}
    node.attribute.extend(helper.make_attribute(*pair) for pair in given.items())
    onnx.save(model, path)


def kernels(*names: str) -> dict[str, str]:
    """File name to SHA-256 of all files of some kernels, from the manifest."""
    listed = json.loads((FOLDER / MANIFEST).read_text())["kernels"]
    return {
        f"{name}_sm{target}.ptx": facts["sha256"]
        for name in names
        for target, facts in listed[name]["targets"].items()
    }


def test_portable_bodies_take_the_operators_places(exported: Path) -> None:
    report = build_engine(exported, exported.with_suffix(".engine"))
    assert {x.kind for x in report.network.layers}.isdisjoint({"PLUGIN_V2", "PLUGIN_V3"})
    assert len(report.network.layers) > 60
    assert report.fingerprint.kernels_sha256 == {}


@pytest.mark.parametrize("asked", ["auto", "plugin"])
def test_a_model_without_custom_operators_is_portable(
    asked: str, onnx_file: Callable[..., Path]
) -> None:
    plain = [n for n in two_operators() if not n.domain and n.name not in ("pack", "flatten")]
    plain = [n for n in plain if n.output[0] not in ("mean", "sum", "scores")]
    plain += [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Slice", ["mean", "index_0", "index_4", "axis"], ["part"]),
        helper.make_node("Cast", ["part"], ["scores"], to=TensorProto.FLOAT),
    ]
    ends = {"index_0": 0, "index_4": 4, "axis": 2}
    plain = [constant(name, np.array([n], np.int64)) for name, n in ends.items()] + plain
    path = onnx_file(graph_nodes=plain, functions=())
    report = build_engine(path, path.with_suffix(".engine"), operators=asked)
    assert (report.operators, report.operators_reason) == ("portable", "no custom operators")


def test_a_refit_names_weights_as_the_real_parser_does(exported: Path) -> None:
    """Those in functions' bodies too, whose names the inliner makes."""
    model, contract = read_exported(exported)
    real = load_flavour("tensorrt-rtx")
    portable = portable_model(model, "x.onnx")
    network = parse_network(real, make_builder(real), portable, contract, "x.onnx")
    again = inlined_model(exported, "gpu")
    assert float_weights(again) == float_weights(portable)
    assert float_weights(again) > float_weights(model) > {"weight"}
    assert all(network.mark_weights_refittable(name) for name in float_weights(again))
    assert not network.mark_weights_refittable("of nobody")


def float_weights(model: onnx.ModelProto) -> set[str]:
    """Names of all that a node reads."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    constants = ((n, n.attribute[0]) for n in model.graph.node if n.op_type == "Constant")
    inner = {
        n.output[0]
        for n, value in constants
        if value.t.data_type in floats or value.name in ("value_float", "value_floats")
    }
    outer = {t.name for t in model.graph.initializer if t.data_type in floats}
    return (inner | outer) & {name for node in model.graph.node for name in node.input}


# What a plugin would refuse, before TensorRT asks it.


def flavour(version: str, name: str = "tensorrt", **more: Any) -> Flavour:
    flags = SimpleNamespace(STRONGLY_TYPED=0, EXPLICIT_BATCH=0)
    module = SimpleNamespace(__version__=version, NetworkDefinitionCreationFlag=flags, **more)
    return flavour_of(module, name)


@pytest.fixture
def on_l4(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's plugins count as registered, and an L4 as this machine's GPU."""
    monkeypatch.setattr(operator_choice, "register_plugins", lambda _: None)
    monkeypatch.setattr(operator_choice, "device_info", lambda: L4)


def prepared_for_plugins(path: Path) -> Prepared:
    return prepare_operators("plugin", flavour("11.4.0"), read_exported(path)[0], str(path))


@pytest.mark.usefixtures("on_l4")
@pytest.mark.parametrize(
    ("name", "attributes", "sentence"),
    [
        ("align", {"cfg": "oh=3"}, r"node 'align': MaskrtRoiAlign: cfg 'oh=3' found; expected oh="),
        ("align", {"cfg": None}, r"node 'align': MaskrtRoiAlign: cfg '' found; expected oh="),
        (
            "align",
            {"cfg": "oh=3;ow=3;sr=0;step=1;scale=0.07;aligned=1"},
            r"expected a scale of one divided by a whole number\. Export it again\.",
        ),
        ("window", {"cfg": "size=3;shapes=8x8"}, r"node 'window': .* expected an even size"),
        (
            "window",
            {"cfg": "size=2;shapes=" + ",".join(["1x1"] * 17)},
            r"17 levels found; the kernel takes at most 16\. Build with '--operators portable'",
        ),
    ],
)
def test_a_broken_node_gives_its_sentence(
    name: str, attributes: dict[str, Any], sentence: str, exported: Path
) -> None:
    change(exported, name, **attributes)
    with pytest.raises(BuildError, match=rf"^{exported}: .*{sentence}"):
        prepared_for_plugins(exported)


@pytest.mark.usefixtures("on_l4")
def test_types_that_the_kernels_do_not_read_are_refused(exported: Path) -> None:
    model = onnx.load(exported)
    nodes = {node.name: node for node in model.graph.node}
    nodes["align"].input[0] = "images"
    onnx.save(model, exported)
    with pytest.raises(BuildError, match="inputs uint8 and float32 found; expected float16 or"):
        prepared_for_plugins(exported)


@pytest.mark.usefixtures("on_l4")
def test_an_odd_number_of_half_channels_is_refused(exported: Path) -> None:
    model = onnx.load(exported)
    nodes = {node.name: node for node in model.graph.node}
    nodes["window"].input[0] = "odd"
    model.graph.node.insert(0, constant("odd", np.zeros((1, 64, 3), np.float16)))
    model.graph.node.remove(nodes["flatten"])
    fewer = helper.make_node("ReduceMean", ["windows"], ["flat"], axes=[0, 1, 2, 3], keepdims=0)
    model.graph.node.insert(len(model.graph.node) - 3, fewer)
    onnx.save(model, exported)
    with pytest.raises(BuildError, match="node 'window': MaskrtWindowAlign: 3 FP16 channels"):
        prepared_for_plugins(exported)


@pytest.mark.usefixtures("on_l4")
def test_an_operator_without_a_plugin_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(
        BuildError, match="node 'custom': MaskrtTwice: no plugin found; expected MaskrtRoiAlign or"
    ):
        prepared_for_plugins(tiny_onnx)


class OneParse:
    """Plain TensorRT's builder and parser: it "parses" to layers of these kinds and outputs."""

    def __init__(self, layers: list[tuple[str, str, tuple[int, ...]]], contract: Contract) -> None:
        self._specs = (contract.inputs, contract.outputs)
        self.num_inputs, self.num_outputs = map(len, self._specs)
        self.num_layers = len(layers)
        self._layers = layers

    def get_input(self, index: int) -> Any:
        return self._tensor(self._specs[0][index])

    def get_output(self, index: int) -> Any:
        return self._tensor(self._specs[1][index])

    def get_layer(self, index: int) -> Any:
        kind, name, shape = self._layers[index]
        tensor = SimpleNamespace(name=name, shape=shape)
        return SimpleNamespace(type=SimpleNamespace(name=kind), get_output=lambda _: tensor)

    def create_network(self, _: int) -> OneParse:
        return self

    def parse(self, _: bytes) -> bool:
        return True

    @staticmethod
    def _tensor(spec: TensorSpec) -> Any:
        dtype = SimpleNamespace(name={"uint8": "UINT8", "int32": "INT32"}.get(spec.dtype, "FLOAT"))
        return SimpleNamespace(name=spec.name, shape=spec.shape, dtype=dtype)


ALIGN, WINDOW = ("PLUGIN_V3", "bins", ROI_SHAPE), ("PLUGIN_V3", "windows", WINDOW_SHAPE)


@pytest.mark.usefixtures("on_l4")
@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([ALIGN, WINDOW], None),
        ([WINDOW], r"'align' \(MaskrtRoiAlign\) is no plugin's layer"),
        ([("GATHER", "bins", ROI_SHAPE), WINDOW], r"'align' .* is no plugin's layer"),
        (
            [("PLUGIN_V3", "bins", (2, 4, 6, 6)), WINDOW],
            r"'align' \(MaskrtRoiAlign\) makes \(2, 4, 6, 6\).*expected .* \(2, 4, 3, 3\)",
        ),
    ],
    ids=["plugins", "gone", "a body", "another shape"],
)
def test_every_node_must_be_a_plugin_of_its_shape_in_the_network(
    layers: Any, sentence: str | None, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrt.engines.network.tensorrt_logger", lambda _: None)
    model, contract = read_exported(exported)
    parsed = OneParse(layers, contract)
    flavour_here = flavour("11.4.0", OnnxParser=lambda network, _: network)
    prepared = prepare_operators("plugin", flavour_here, model, "x.onnx")
    arguments = (flavour_here, parsed, prepared.model, contract, "x.onnx")
    if sentence is None:
        assert parse_network(*arguments) is parsed
        return
    with pytest.raises(BuildError, match=sentence):
        parse_network(*arguments)


# The choice, for flavours that are not installed here.


@pytest.mark.parametrize(
    ("version", "name", "operators", "reason"),
    [
        ("11.4.0.106", "tensorrt", "plugin", "tensorrt 11.4.0.106 puts the operators' kernels"),
        ("10.16.1.11", "tensorrt", "plugin", "tensorrt 10.16.1.11 puts the operators' kernels"),
        ("10.15.1.29", "tensorrt", "portable", "tensorrt 10.15.1.29 has none that work"),
        ("10.3.0", "tensorrt", "portable", "10.16 is the first that has"),
        ("8.6.1", "tensorrt", "portable", "tensorrt 8.6.1 has none that work"),
        ("1.7.1.116", "tensorrt-rtx", "portable", "tensorrt-rtx has no plugins whose kernels"),
    ],
)
def test_auto_takes_plugins_where_they_become_part_of_the_engine(
    version: str, name: str, operators: str, reason: str, exported: Path
) -> None:
    found = choose_operators("auto", flavour(version, name), onnx.load(exported))
    assert found[0] == operators
    assert reason in found[1]


def test_plugins_that_are_asked_for_are_refused_where_there_are_none(exported: Path) -> None:
    model = read_exported(exported)[0]
    with pytest.raises(BuildError, match=r"tensorrt 10\.15\.0: '--operators plugin' cannot be had"):
        prepare_operators("plugin", flavour("10.15.0"), model, "x.onnx")
    engine = exported.with_suffix(".engine")
    with pytest.raises(BuildError, match=r"^tensorrt-rtx 1\.7.*Build with '--operators portable'"):
        build_engine(exported, engine, operators="plugin")
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


@pytest.mark.usefixtures("on_l4")
def test_an_engine_for_other_machines_holds_no_plugins(exported: Path) -> None:
    model, newest = read_exported(exported)[0], flavour("11.4.0")
    for asked, reason in (
        (Compatibility(version_compatible=True), "what TensorRT's lean runtime has"),
        (Compatibility(hardware_compatible="ampere-plus"), "kernel is chosen for one GPU"),
    ):
        against = asked.against_plugins
        prepared = prepare_operators("auto", newest, model, "x.onnx", against)
        assert (prepared.operators, prepared.kernels_sha256) == ("portable", {})
        assert reason in prepared.reason
        with pytest.raises(BuildError, match=f"--operators plugin.*{reason}"):
            prepare_operators("plugin", newest, model, "x.onnx", against)
    for asked in (
        Compatibility(hardware_compatible="same-capability"),
        Compatibility(strip_weights=True),
    ):
        prepared = prepare_operators("auto", newest, model, "x.onnx", asked.against_plugins)
        assert prepared.operators == "plugin"


def test_tensorrt_without_its_plugin_layer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "maskrt.engines.plugins.tensorrt_aot", raising=False)
    monkeypatch.delattr(maskrt.engines.plugins, "tensorrt_aot", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BuildError, match=r"does not load .* expected tensorrt\.plugin"):
        register_plugins(flavour("10.16.0"))


@pytest.mark.usefixtures("on_l4")
def test_tensorrt_takes_the_kernels_of_the_gpu_that_builds(exported: Path) -> None:
    prepared = prepare_operators("auto", flavour("11.4.0"), read_exported(exported)[0], "x.onnx")
    assert prepared.operators == "plugin"
    assert [n.name for n in prepared.model.graph.node if n.domain] == ["align", "window"]
    shipped = kernels("roi_align_fp16", "window_align")
    files = ("roi_align_fp16_sm80.ptx", "window_align_sm75.ptx")
    assert prepared.kernels_sha256 == {name: shipped[name] for name in files}


@pytest.mark.usefixtures("on_l4")
@pytest.mark.parametrize(
    ("gpu", "sentence"),
    [
        (V100, "compute capability 7.0 found; the kernels need at least 7.5"),
        (None, "the GPU does not say its compute capability"),
    ],
)
def test_auto_is_portable_and_plugin_fails_where_no_kernel_runs(
    gpu: DeviceInfo | None, sentence: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_choice, "device_info", lambda: gpu)
    model = read_exported(exported)[0]
    prepared = prepare_operators("auto", flavour("11.4.0"), model, "x.onnx")
    assert (prepared.operators, prepared.kernels_sha256) == ("portable", {})
    assert sentence in prepared.reason
    assert {n.domain for n in prepared.model.graph.node} <= {"", "ai.onnx"}
    with pytest.raises(BuildError, match=rf"x\.onnx: node 'align': .*{sentence}"):
        prepare_operators("plugin", flavour("11.4.0"), model, "x.onnx")


@pytest.mark.usefixtures("on_l4")
def test_an_exported_network_keeps_its_operators_as_plugins(chain: Any) -> None:
    """Both RoIAligns of a whole Mask R-CNN, as the command line exported it."""
    prepared = prepared_for_plugins(chain.onnx_fp16)
    kept = [node.op_type for node in prepared.model.graph.node if node.domain]
    assert kept == ["MaskrtRoiAlign"] * 2
    assert list(prepared.kernels_sha256) == ["roi_align_fp16_sm80.ptx"]


def test_no_weight_of_a_whole_network_is_without_a_name(chain: Any) -> None:
    """What the real parser makes of it: a constant without a name could not come back."""
    model, contract = read_exported(chain.onnx_fp16)
    portable, real = portable_model(model, "x.onnx"), load_flavour("tensorrt-rtx")
    keep_bounds_named(portable)
    network = parse_network(real, make_builder(real), portable, contract, "x.onnx")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    floats = (real.trt.float16, real.trt.float32)
    constants = {
        layer.name
        for layer in layers
        if layer.type == real.trt.LayerType.CONSTANT and layer.get_output(0).dtype in floats
    }
    assert len(constants) > 10
    assert constants <= float_weights(inlined_model(chain.onnx_fp16, "gpu"))
