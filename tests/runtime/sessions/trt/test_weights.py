"""Engines without weights get them back from the ONNX file they were built from, or are refused."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.files import sha256_of
from maskrt.runtime.sessions.trt.session import TrtSession

onnx = pytest.importorskip("onnx", reason='needs pip install ".[gpu]"')

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


class Refitter:
    """TensorRT's two in one: takes every named weight of the model, as its parser names them."""

    def __init__(self, wanted: dict[str, float]) -> None:
        self.wanted, self.given, self.is_done = wanted, dict[str, float](), False

    def refit_from_bytes(self, data: bytes) -> bool:
        graph = onnx.load_from_string(data).graph
        named = [(tensor.name, tensor) for tensor in graph.initializer]
        constants = (node for node in graph.node if node.op_type == "Constant")
        named += [(node.output[0], node.attribute[0].t) for node in constants]
        found = {name: float(numpy_helper.to_array(tensor)) for name, tensor in named}
        self.given = {name: found[name] for name in self.wanted if name in found}
        return self.given.keys() == self.wanted.keys()

    def refit_cuda_engine(self) -> bool:
        self.is_done = self.given == self.wanted
        return self.is_done


def a_model() -> Any:
    """`y = scale * halved(x)`: one weight of the graph, one in a function's body."""
    half = helper.make_node(
        "Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float32))
    )
    body = [half, helper.make_node("Mul", ["X", "half"], ["Y"])]
    opset = helper.make_opsetid("", 17)
    halved = helper.make_function("maskrt", "Halved", ["X"], ["Y"], body, [opset])
    nodes = [
        helper.make_node("Halved", ["x"], ["h"], domain="maskrt"),
        helper.make_node("Mul", ["h", "scale"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    scale = numpy_helper.from_array(np.array(3.0, np.float32), "scale")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scale])
    imports = [opset, helper.make_opsetid("maskrt", 1)]
    return helper.make_model(graph, functions=[halved], opset_imports=imports, ir_version=8)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "graphs" / "x.onnx"
    path.parent.mkdir()
    onnx.save(a_model(), path)
    return path


@pytest.fixture
def stripped(write_engine: Any, onnx_file: Path) -> Path:
    """An engine whose weights are in `onnx_file`."""
    path: Path = write_engine(weights_sha256={"graphs/x.onnx": sha256_of(onnx_file)})
    return path


def names_as_built(path: Path) -> dict[str, float]:
    """What TensorRT names the weights of the inlined model that was built."""
    import onnx.inliner

    inlined = onnx.inliner.inline_local_functions(onnx.load(path))
    (constant,) = (n.output[0] for n in inlined.graph.node if n.op_type == "Constant")
    return {"scale": 3.0, constant: 0.5}


@pytest.fixture
def refitter(engine: Any, use_engine: Any, onnx_file: Path) -> Refitter:
    made = Refitter(names_as_built(onnx_file))
    use_engine(engine, Refitter=lambda *_: made, OnnxParserRefitter=lambda given, _: given)
    return made


def test_weights_come_back_from_the_onnx_file(stripped: Path, refitter: Refitter) -> None:
    with TrtSession(stripped):
        assert refitter.is_done


def test_the_onnx_file_may_have_moved_beside_the_engine(
    stripped: Path, refitter: Refitter, onnx_file: Path
) -> None:
    onnx_file.rename(stripped.with_name("x.onnx"))
    with TrtSession(stripped):
        assert refitter.is_done


def test_a_missing_onnx_file_is_named_with_what_to_do(
    stripped: Path, refitter: Refitter, onnx_file: Path
) -> None:
    onnx_file.unlink()
    with pytest.raises(SessionError, match=r"x\.onnx, which .* nor beside it\. Copy it beside"):
        TrtSession(stripped)


def test_another_onnx_file_is_refused(stripped: Path, refitter: Refitter, onnx_file: Path) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes() + b"\0")
    with pytest.raises(SessionError, match=r"x\.onnx: SHA-256 .* is not the file with the weights"):
        TrtSession(stripped)
    assert not refitter.given


def test_weights_that_tensorrt_does_not_take_are_an_error(
    stripped: Path, refitter: Refitter, host_cuda: Any, engine: Any, use_engine: Any
) -> None:
    refitter.wanted["one more"] = 1.0
    with pytest.raises(SessionError, match=r"did not take the weights of .* \(its last error\)"):
        TrtSession(stripped)

    def nullptr(*_: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    use_engine(engine, Refitter=nullptr, OnnxParserRefitter=None)
    with pytest.raises(SessionError, match=r"did not take the weights of .* \(its last error\)"):
        TrtSession(stripped)
    assert host_cuda.live == {}


def test_data_beside_the_onnx_file_is_checked_too(
    write_engine: Any, refitter: Refitter, onnx_file: Path
) -> None:
    onnx.save(a_model(), onnx_file, save_as_external_data=True, location="w.bin", size_threshold=0)
    data = onnx_file.with_name("w.bin")
    sums = {f"graphs/{path.name}": sha256_of(path) for path in (onnx_file, data)}
    engine = write_engine(weights_sha256=sums)
    with TrtSession(engine):
        assert refitter.is_done
    data.rename(engine.with_name("w.bin"))
    with pytest.raises(SessionError, match=r"not a readable ONNX model .*its data beside it"):
        TrtSession(engine)


def test_what_cannot_read_them_is_told(
    stripped: Path, refitter: Refitter, engine: Any, use_engine: Any, monkeypatch: Any
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        with pytest.raises(SessionError, match=r'the onnx package, .*install "\.\[gpu\]"'):
            TrtSession(stripped)
    use_engine(engine)  # as the lean runtime: no parser
    with pytest.raises(SessionError, match="has no ONNX parser"):
        TrtSession(stripped)


def test_an_engine_of_later_versions_may_run_its_own_lean_runtime(
    write_engine: Any, engine: Any, use_engine: Any
) -> None:
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: engine)
    use_engine(engine, Runtime=lambda _: runtime)
    TrtSession(write_engine()).close()
    assert not hasattr(runtime, "engine_host_code_allowed"), "left as TensorRT has it: not allowed"
    TrtSession(write_engine(options={"version_compatible": True})).close()
    assert runtime.engine_host_code_allowed is True


def test_the_real_parser_of_the_installed_tensorrt_has_these_calls() -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip('needs pip install ".[engines]"')
    import tensorrt_rtx as trt

    assert hasattr(trt.OnnxParserRefitter, "refit_from_bytes")
    assert hasattr(trt.Refitter, "refit_cuda_engine")
