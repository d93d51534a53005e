"""Graphs that are not ours, judged by a function that a user wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from maskrt.export.search.verdict import Verdict
from maskrt.workflows.search.callable_judge import CallableJudge

Run = Callable[..., Any]

PICTURES, CLASSES, WIDTH = 64, 4, 16

METRIC = """
import numpy as np

def score(model):
    x = np.random.default_rng(5).standard_normal((64, 16)).astype(np.float32)
    outputs = model({"x": x})
    return float((outputs["y"].argmax(1) == LABELS).mean())

LABELS = np.load(__file__.replace(".py", ".npy"))
"""


def classifier(scale: float = 1.0) -> onnx.ModelProto:
    """Three Gemms; `scale` goes into the first one's result and out of the second's weights."""
    rng = np.random.default_rng(3)
    sizes = [(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, CLASSES)]
    weights = [rng.standard_normal(size).astype(np.float32) for size in sizes]
    weights[0] *= scale
    weights[1] /= scale
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w1"], ["c"], name="middle"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "w2"], ["y"], name="last"),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (PICTURES, WIDTH))
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, (PICTURES, CLASSES))
    stored = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "classifier", [given], [made], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def metric(tmp_path: Path) -> str:
    """Accuracy against what the FP32 network says itself, so FP32 scores 1."""
    session = ort.InferenceSession(
        classifier().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(5).standard_normal((PICTURES, WIDTH)).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    np.save(tmp_path / "yours.npy", np.asarray(y).argmax(1))
    (tmp_path / "yours.py").write_text(METRIC)
    return f"{tmp_path / 'yours.py'}:score"


def certificate(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())["certificate"]
    return read


def test_the_one_node_that_fp16_cannot_hold_is_found(
    maskrt: Run, metric: str, tmp_path: Path
) -> None:
    """A bias of 80,000, which its ReLU's reader has no use for; half ends at 65,504."""
    model, out = tmp_path / "model.onnx", tmp_path / "p.json"
    unsafe = classifier()
    bias = numpy_helper.from_array(np.full(WIDTH, -80_000, np.float32), "bias")
    unsafe.graph.initializer.append(bias)
    nodes = [
        helper.make_node("Gemm", ["b", "w1", "bias"], ["beside"], name="unsafe"),
        helper.make_node("Relu", ["beside"], ["none"]),
        helper.make_node("Add", ["c", "none"], ["sum"]),
    ]
    for node in reversed(nodes):
        unsafe.graph.node.insert(3, node)
    unsafe.graph.node[6].input[0] = "sum"
    onnx.save(unsafe, model)
    ran = maskrt("bisect", model, "--metric", metric, "--gate", 0.02, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["kept"] == ["unsafe"]
    why = certificate(out)["kept"]["unsafe"]["why"]
    assert why == "alone in FP16: weight 'bias': 80000 found"


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """The first Gemm's result peaks at 90,000; all weights fit into FP16, and into INT8."""
    model = classifier()
    model.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(5).standard_normal((PICTURES, WIDTH)).astype(np.float32)
    peak = float(np.abs(session.run(["a"], {"x": x})[0]).max())
    onnx.save(classifier(90_000 / peak), tmp_path / "overflowing.onnx")
    return tmp_path / "overflowing.onnx"


@pytest.mark.parametrize("verb", ["bisect", "search"])
def test_a_node_whose_values_overflow_fp16_stays_high_and_is_named_with_the_reason(
    maskrt: Run, metric: str, overflowing: Path, tmp_path: Path, verb: str
) -> None:
    """INT8 would clip the infinities that its result has in FP16, and nobody would see them."""
    out = tmp_path / "p.json"
    ran = maskrt(verb, overflowing, "--metric", metric, "--gate", 0.05, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(out.read_text())["groups"]["gemm_0"] == "fp32"
    why = certificate(out)["kept"]["gemm_0"]["why"]
    assert why == "its largest |x| is 90,000, and FP16 ends at 65,504"
    assert f"gemm_0 (44.4% of MACs) stays FP32: {why}" in ran.out


def test_a_search_writes_a_file_that_runs(maskrt: Run, metric: str, tmp_path: Path) -> None:
    model, out, mixed = tmp_path / "model.onnx", tmp_path / "p.json", tmp_path / "mixed.onnx"
    onnx.save(classifier(), model)
    words = ("search", model, "--metric", metric, "--gate", 0.1, "-o", out, "--write", mixed)
    ran = maskrt(*words, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["total_ms"]["found"] <= ran.json["total_ms"]["all fp16"]
    assert "not measured" in ran.json["times"]
    session = ort.InferenceSession(str(mixed), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["y"]


def test_interrupted_and_resumed_it_writes_the_same_file(
    maskrt: Run,
    metric: str,
    overflowing: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    words = ("bisect", overflowing, "--metric", metric, "--gate", 0.01, "--json", "-o")
    ran = maskrt(*words, whole)
    assert ran.code == 0, ran.err
    assert ran.json["evaluations"] + ran.json["few_evaluations"] > 4
    judged, calls = CallableJudge.__call__, []

    def interrupted(self: CallableJudge, model: onnx.ModelProto, *, few: bool) -> Verdict:
        calls.append(few)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judged(self, model, few=few)

    with monkeypatch.context() as patch:
        patch.setattr(CallableJudge, "__call__", interrupted)
        assert maskrt(*words, parts).code == 130
    assert not parts.exists()
    resumed = maskrt(*words, parts)
    assert resumed.json["known"] == 2
    assert "2 verdicts of an earlier run" in resumed.err
    assert parts.read_bytes() == whole.read_bytes()
    assert parts.with_suffix(".journal").read_text() == whole.with_suffix(".journal").read_text()


def test_a_model_of_the_onnx_packages_own_backend_tests_goes_through(
    maskrt: Run, tmp_path: Path
) -> None:
    """Opset 6, weights among the inputs, nodes without names."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"
    yours, out, mixed = tmp_path / "yours.py", tmp_path / "p.json", tmp_path / "mixed.onnx"
    folder = data / "test_Conv2d" / "test_data_set_0"
    yours.write_text(
        "import onnx\nfrom onnx import numpy_helper\nimport numpy as np\n"
        f"def read(name):\n"
        f"    return numpy_helper.to_array(onnx.load_tensor({str(folder)!r} + name))\n"
        "def score(model):\n"
        "    outputs = model({'0': read('/input_0.pb')})\n"
        "    return -float(np.abs(outputs['3'] - read('/output_0.pb')).mean())\n"
    )
    model = data / "test_Conv2d" / "model.onnx"
    words = ("search", model, "--metric", f"{yours}:score", "--gate", 0.01, "-o", out)
    ran = maskrt(*words, "--write", mixed, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["mac_shares"]["int8"] == 1.0
    assert any(node.op_type == "DequantizeLinear" for node in onnx.load(mixed).graph.node)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def score(model):\n    return 1.0\n", "returned 1 without calling the model"),
        ("def score(model):\n    raise KeyError('y')\n", "it raised KeyError ('y')"),
        ("def score(model):\n    return float('nan')\n", "it returned nan; expected a finite"),
        ("def other(model):\n    return 1.0\n", "no function 'score' found"),
        ("import absent_package\n", "importing it raised ModuleNotFoundError"),
    ],
)
def test_a_function_that_is_none_is_refused_in_words(
    maskrt: Run, tmp_path: Path, body: str, words: str
) -> None:
    model, yours, out = tmp_path / "m.onnx", tmp_path / "yours.py", tmp_path / "p.json"
    onnx.save(classifier(), model)
    yours.write_text(body)
    ran = maskrt("bisect", model, "--metric", f"{yours}:score", "--gate", 0.1, "-o", out)
    assert ran.code == 2
    assert words in ran.err
    assert not out.exists()


def test_what_belongs_to_pictures_is_refused_for_a_function(
    maskrt: Run, metric: str, tmp_path: Path
) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "p.json"
    onnx.save(classifier(), model)
    ran = maskrt("search", model, "--metric", metric, "-o", out)
    assert (ran.code, "expected the greatest loss of" in ran.err) == (2, True)
    ran = maskrt("search", model, "--gate", 0.3, "-o", out)
    assert (ran.code, "no labelled pictures named" in ran.err) == (2, True)
    ran = maskrt("search", model, "--write", tmp_path / "x.onnx", "-o", out)
    assert (ran.code, "expected a graph that is not ours" in ran.err) == (2, True)
    ran = maskrt("search", model, "--precisions", "int8", "--metric", "ap", "-o", out)
    assert (ran.code, "expected two or more of fp32, fp16, int8, fp8" in ran.err) == (2, True)
