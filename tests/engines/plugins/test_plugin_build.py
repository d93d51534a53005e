"""`maskrt build --operators`: real TensorRT-RTX builds, and what is chosen for other flavours."""

from __future__ import annotations

import dataclasses
import json
import subprocess
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
from maskrt.engines.flavours import Flavour, flavour_of
from maskrt.engines.inline import read_exported
from maskrt.engines.plugins import choice as operator_choice
from maskrt.engines.plugins import registration as plugin_registration
from maskrt.engines.plugins.choice import choose_operators, prepare_operators
from maskrt.engines.plugins.registration import register_for_build
from maskrt.export.operators.local_functions import add_functions
from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import BuildError, InputError, SessionError
from maskrt.runtime.gpu.cuda import DeviceInfo, missing_device
from maskrt.runtime.gpu.kernels.shipped import FOLDER, MANIFEST
from maskrt.runtime.sidecar import read_sidecar, sidecar_path

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


def test_plugins_are_layers_of_the_network_and_named_in_the_engine(exported: Path) -> None:
    engine = exported.with_suffix(".engine")
    report = build_engine(exported, engine, operators="plugin")
    sidecar = read_sidecar(engine)
    layers = {name: kind for name, kind, *_ in sidecar.build["network"]["layers"]}
    assert {name for name, kind in layers.items() if kind == "PLUGIN_V3"} == {"align", "window"}
    assert len(layers) < 20, "bodies of standard operators would be more than 60"
    data = engine.read_bytes()
    assert b"MaskrtRoiAlign" in data
    assert b"MaskrtWindowAlign" in data
    assert (report.operators, report.operators_reason) == ("plugin", "asked for")
    assert (sidecar.build["operators"], sidecar.build["operators_reason"]) == (
        "plugin",
        "asked for",
    )
    assert sidecar.fingerprint.options["operators"] == "plugin"
    assert sidecar.fingerprint.kernels_sha256 == kernels("roi_align_fp16", "window_align")
    assert sidecar.rebuild_command(engine).endswith("--operators plugin")
    assert "has not been run on a GPU" in report.notes[0]


def test_portable_uses_no_plugin_where_plugins_are_registered(exported: Path) -> None:
    build_engine(exported, exported.with_name("plugin.engine"), operators="plugin")
    report = build_engine(exported, exported.with_suffix(".engine"), operators="portable")
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


# What a plugin would refuse, before TensorRT asks it.


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
        (
            "align",
            {"cfg": "oh=6;ow=6;sr=0;step=1;scale=0.0625;aligned=1"},
            r"'align' \(MaskrtRoiAlign\) makes \(2, 4, 6, 6\).*expected .* \(2, 4, 3, 3\)",
        ),
    ],
)
def test_a_broken_node_gives_its_sentence_and_no_file(
    name: str, attributes: dict[str, Any], sentence: str, exported: Path
) -> None:
    change(exported, name, **attributes)
    with pytest.raises(BuildError, match=rf"^{exported}: .*{sentence}"):
        build_engine(exported, exported.with_suffix(".engine"), operators="plugin")
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_types_that_the_kernels_do_not_read_are_refused(exported: Path) -> None:
    model = onnx.load(exported)
    nodes = {node.name: node for node in model.graph.node}
    nodes["align"].input[0] = "images"
    onnx.save(model, exported)
    with pytest.raises(BuildError, match="inputs uint8 and float32 found; expected float16 or"):
        build_engine(exported, exported.with_suffix(".engine"), operators="plugin")


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
        build_engine(exported, exported.with_suffix(".engine"), operators="plugin")


def test_an_operator_without_a_plugin_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(
        BuildError, match="node 'custom': MaskrtTwice: no plugin found; expected MaskrtRoiAlign or"
    ):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"), operators="plugin")


def test_a_node_that_is_no_plugin_in_the_network_is_an_error(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrt.engines.network.PLUGIN_LAYERS", ())
    with pytest.raises(BuildError, match=r"node 'align' \(MaskrtRoiAlign\) is no plugin's layer"):
        build_engine(exported, exported.with_suffix(".engine"), operators="plugin")


# The choice, for flavours that are not installed here.


def flavour(version: str, name: str = "tensorrt") -> Flavour:
    flags = SimpleNamespace(STRONGLY_TYPED=0, EXPLICIT_BATCH=0)
    module = SimpleNamespace(__version__=version, NetworkDefinitionCreationFlag=flags)
    return flavour_of(module, name)


@pytest.mark.parametrize(
    ("version", "name", "operators", "reason"),
    [
        ("11.4.0.106", "tensorrt", "plugin", "tensorrt 11.4.0.106 puts the operators' kernels"),
        ("10.9.0.34", "tensorrt", "plugin", "tensorrt 10.9.0.34 puts the operators' kernels"),
        ("10.8.0.43", "tensorrt", "portable", "tensorrt 10.8.0.43 has no ahead-of-time plugins"),
        ("8.6.1", "tensorrt", "portable", "tensorrt 8.6.1 has no ahead-of-time plugins"),
        ("1.7.1.116", "tensorrt-rtx", "portable", "enqueue has not been run on a GPU yet"),
    ],
)
def test_auto_takes_plugins_where_tensorrt_starts_the_kernels(
    version: str, name: str, operators: str, reason: str, exported: Path
) -> None:
    found = choose_operators("auto", flavour(version, name), onnx.load(exported))
    assert found[0] == operators
    assert reason in found[1]


def test_older_tensorrt_refuses_plugins_that_are_asked_for(exported: Path) -> None:
    model = read_exported(exported)[0]
    with pytest.raises(BuildError, match=r"tensorrt 10\.8\.0: no ahead-of-time plugins found"):
        prepare_operators("plugin", flavour("10.8.0"), model, "x.onnx")


def test_tensorrt_without_its_plugin_layer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "maskrt.engines.plugins.tensorrt_aot", raising=False)
    monkeypatch.delattr(maskrt.engines.plugins, "tensorrt_aot", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BuildError, match=r"does not load .* expected tensorrt\.plugin"):
        register_for_build(flavour("10.9.0"))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's plugins count as registered."""
    monkeypatch.setattr(operator_choice, "register_for_build", lambda _: None)


@pytest.mark.usefixtures("registered")
def test_tensorrt_takes_the_kernels_of_the_gpu_that_builds(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_choice, "device_info", lambda: L4)
    prepared = prepare_operators("auto", flavour("11.4.0"), read_exported(exported)[0], "x.onnx")
    assert prepared.operators == "plugin"
    assert [n.name for n in prepared.model.graph.node if n.domain] == ["align", "window"]
    shipped = kernels("roi_align_fp16", "window_align")
    files = ("roi_align_fp16_sm80.ptx", "window_align_sm75.ptx")
    assert prepared.kernels_sha256 == {name: shipped[name] for name in files}


@pytest.mark.usefixtures("registered")
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


# Opening: in TensorRT-RTX the plugins belong to the process.


@pytest.fixture
def engine(exported: Path) -> Path:
    path = exported.with_suffix(".engine")
    build_engine(exported, path, operators="plugin")
    return path


OPENING = """
import sys
from pathlib import Path
import maskrt
from maskrt.runtime.gpu import cuda
from maskrt.runtime.errors import SessionError
from maskrt.runtime.sessions.trt.session import TrtSession

gpu = cuda.DeviceInfo("NVIDIA L4", "8.9", "13.0", 24 << 30)
cuda.require_device = lambda where, device: gpu  # as far as TensorRT itself
for open_engine in (TrtSession, maskrt.load):
    try:
        open_engine(Path(sys.argv[1]))
    except SessionError as err:
        print(err)
"""


@pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")
def test_only_maskrt_load_opens_an_engine_that_calls_plugins(engine: Path) -> None:
    command = [sys.executable, "-c", OPENING, str(engine)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    alone, loaded = done.stdout.splitlines()
    assert alone.startswith(f"{engine}: it calls plugins for MaskrtRoiAlign and MaskrtWindowAlign")
    assert alone.endswith("Open it with maskrt.load.")
    assert f"{engine}: TensorRT refused the engine" in loaded, "no GPU, but all before it is right"


@pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")
def test_without_a_gpu_the_sentence_is_the_usual_one(engine: Path) -> None:
    with pytest.raises(SessionError, match="no NVIDIA GPU can be used here"):
        maskrt.load(engine)


def test_an_engine_of_other_kernels_is_refused(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_registration, "sha256_of", lambda path: f"new {path.name}")
    with pytest.raises(
        SessionError, match=r"other kernels than this maskrt has \(roi_align_fp16_sm"
    ):
        maskrt.load(engine)


def test_what_is_wrong_with_an_engines_files_is_said_as_for_any_engine(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"gone\.engine: no such file"):
        maskrt.load(engine.with_name("gone.engine"))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tensorrt_rtx", None)
        with pytest.raises(SessionError, match=r'pip install "\.\[engines\]"'):
            maskrt.load(engine)
    sidecar_path(engine).unlink()
    with pytest.raises(SessionError, match=r"\.engine\.json: No such file"):
        maskrt.load(engine)


def test_an_exported_network_keeps_its_operators_as_plugins(chain: Any, tmp_path: Path) -> None:
    """Both RoIAligns of a whole Mask R-CNN, as the command line exported it."""
    report = build_engine(chain.onnx_fp16, tmp_path / "a.engine", operators="plugin")
    model = onnx.load(chain.onnx_fp16)
    nodes = {n.name for n in model.graph.node if n.op_type == "MaskrtRoiAlign"}
    plugins = {x.name for x in report.network.layers if x.kind == "PLUGIN_V3"}
    assert len(plugins) == 2
    assert plugins == nodes
    assert report.fingerprint.kernels_sha256 == kernels("roi_align_fp16")
    assert report.network.fp16_mac_share > 0.9
