"""FP16 storage emulated in FP32: equal to numpy's halves through ONNX Runtime's optimizer."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from torch.nn.functional import conv2d

from maskrt.export.operators.local_functions import add_functions
from maskrt.export.precision.emulation import (
    ROUND_TO_HALF,
    emulated,
    emulated_file,
    write_emulated,
)
from maskrt.export.precision.fp16 import to_fp16
from maskrt.export.to_onnx import drawn_pictures
from maskrt.export.verify import verify
from maskrt.runtime.contract import METADATA_KEY
from maskrt.runtime.errors import ExportError, InputError
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.train.deploy.deployment import deploy
from maskrt.train.weights.checkpoint import load_checkpoint

from ..conftest import Exported

Floats = npt.NDArray[np.float32]
HEADER = '<ir_version: 8, opset_import: ["" : 18, "maskrt" : 1]>'
CHAIN = """g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    r = Relu (a)
    b = Conv (r, w2)
    s = Add (b, r)
    y = Conv (s, w3)
}"""


def model_of(text: str, **weights: Floats) -> onnx.ModelProto:
    model = parser.parse_model(HEADER + text)
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def run(model: onnx.ModelProto, **feeds: Floats) -> list[Floats]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def halves(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def steps(rng: np.random.Generator, shape: tuple[int, ...], size: float, limit: int) -> Floats:
    """Random multiples of `size`, so that a few sums of products are exact in FP32."""
    return (rng.integers(-limit, limit + 1, shape) * size).astype(np.float32)


@pytest.fixture(scope="module")
def chain() -> tuple[onnx.ModelProto, Floats]:
    """An FP16 chain of layers whose FP32 sums are exact in any order, and an input for it."""
    rng = np.random.default_rng(4)
    weights = {
        "w1": steps(rng, (4, 4, 3, 3), 1 / 4, 3),
        "w2": steps(rng, (4, 4, 1, 1), 1 / 4, 3),
        "w3": steps(rng, (4, 4, 1, 1), 1 / 4, 3),
    }
    return to_fp16(model_of(CHAIN, **weights)), steps(rng, (1, 4, 8, 8), 2.0**-10, 1023)


@pytest.fixture(scope="module")
def rounding() -> ort.InferenceSession:
    text = """g (float[N] x) => (float[N] y) {
        h = Cast <to = 10> (x)
        y = Cast <to = 1> (h)
    }"""
    return ort.InferenceSession(emulated(model_of(text)).SerializeToString())


def test_every_half_and_every_tie_rounds_as_ieee_does(rounding: ort.InferenceSession) -> None:
    positive = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (positive[:-1] + positive[1:]) / 2
    near = [np.nextafter(ties, np.float32(to)) for to in (-np.inf, np.inf)]
    x = np.concatenate([positive, ties, *near])
    x = np.concatenate([x, -x])
    np.testing.assert_array_equal(rounding.run(None, {"x": x})[0], halves(x))


def test_any_float_rounds_as_ieee_does(rounding: ort.InferenceSession) -> None:
    bits = np.arange(0, 2**32, 2**14 + 1, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    np.testing.assert_array_equal(rounding.run(None, {"x": x})[0], halves(x))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (65504.0, 65504.0),
        (65519.99, 65504.0),
        (65520.0, np.inf),
        (-65520.0, -np.inf),
        (5e34, np.inf),
        (-3e38, -np.inf),
        (np.inf, np.inf),
        (np.nan, np.nan),
        (2.0**-24, 2.0**-24),
        (2.0**-25, 0.0),
        (-1.5 * 2.0**-24, -(2.0**-23)),
    ],
)
def test_ends_of_half_range(rounding: ort.InferenceSession, x: float, y: float) -> None:
    (found,) = rounding.run(None, {"x": np.array([x], np.float32)})
    np.testing.assert_array_equal(found, np.array([y], np.float32))


def test_chain_equals_layers_with_every_result_rounded(
    chain: tuple[onnx.ModelProto, Floats],
) -> None:
    model, x = chain
    w1, w2, w3 = (torch.from_numpy(numpy_helper.to_array(t).astype(np.float64))
                  for t in sorted(model.graph.initializer, key=lambda t: t.name))  # fmt: skip
    a = conv2d(torch.from_numpy(x).double(), w1, padding=1).half().double()
    r = a.relu()
    b = conv2d(r, w2).half().double()
    s = (b + r).half().double()
    want = conv2d(s, w3).half().float().numpy()
    (found,) = run(emulated(model), x=x)
    np.testing.assert_array_equal(found, want)
    # Why all this: ONNX Runtime computes the FP16 file itself in FP32 from end to end.
    (plain,) = run(model, x=x)
    assert (plain != want).mean() > 0.25


def test_every_tensor_that_was_half_holds_halves(chain: tuple[onnx.ModelProto, Floats]) -> None:
    model, x = chain
    names = [v.name for v in model.graph.value_info
             if v.type.tensor_type.elem_type == TensorProto.FLOAT16]  # fmt: skip
    assert len(names) == 6
    watched = emulated(model)
    del watched.graph.output[:]
    for name in names:
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    for name, values in zip(names, run(watched, x=x), strict=True):
        np.testing.assert_array_equal(values, halves(values), err_msg=name)


def test_only_results_of_arithmetic_are_rounded() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[4, 1, 12, 6] y) {
        a = Conv (x, w1)
        r = Relu (a)
        m = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r)
        c = Concat <axis = 2> (m, r)
        t = Transpose <perm = [1, 0, 2, 3]> (c)
        y = Sigmoid (t)
    }"""
    copy = emulated(to_fp16(model_of(text, w1=np.ones((4, 4, 1, 1), np.float32))))
    rounded = [n.output[0] for n in copy.graph.node if n.op_type == ROUND_TO_HALF]
    assert rounded == ["x_fp16", "a"]


def test_value_beyond_half_becomes_infinite_where_the_file_itself_hides_it() -> None:
    text = "g (float[1, 1, 1, 2] x) => (float[1, 1, 1, 2] y) { y = Conv (x, w) }"
    model = to_fp16(model_of(text, w=np.full((1, 1, 1, 1), 2048, np.float32)))
    x = np.array([[[[-33, 2]]]], np.float32)
    np.testing.assert_array_equal(run(model, x=x)[0].ravel(), [-67584, 4096])
    np.testing.assert_array_equal(run(emulated(model), x=x)[0].ravel(), [-np.inf, 4096])


def test_pooled_regions_are_rounded_once() -> None:
    text = """g (float[1, 2, 6, 8] x, float[1, 5, 4] rois) => (float[5, 2, 3, 3] y) {
        f = Conv (x, w)
        p = maskrt.MaskrtRoiAlign <output_size = 3, spatial_scale = 1.0, sampling_ratio = 2>
            (f, rois)
        y = Conv (p, w)
    }"""
    rng = np.random.default_rng(0)
    unit = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)  # its layers pass values on
    model = add_functions(model_of(text, w=unit))
    x = halves(rng.uniform(-1, 1, (1, 2, 6, 8)).astype(np.float32))
    rois = np.sort(rng.uniform(0, 6, (1, 5, 2, 2)), 2).reshape(1, 5, 4).astype(np.float32)
    (want,) = run(model, x=x, rois=rois)
    (found,) = run(emulated(to_fp16(model)), x=x, rois=rois)
    np.testing.assert_array_equal(found, halves(want))


def test_emulation_holds_no_half_and_keeps_the_models_face(
    chain: tuple[onnx.ModelProto, Floats],
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(chain[0])
    helper.set_model_props(model, {METADATA_KEY: "a contract"})
    before = model.SerializeToString()
    copy = emulated(model)
    assert model.SerializeToString() == before
    assert copy.graph.input == model.graph.input
    assert copy.graph.output == model.graph.output
    assert copy.metadata_props == model.metadata_props
    assert {t.data_type for t in copy.graph.initializer} == {TensorProto.FLOAT}
    again = emulated(copy)
    assert again.graph == copy.graph
    assert again.functions == copy.functions


def test_half_that_to_fp16_does_not_write_is_refused() -> None:
    text = """g (float16[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        f = Cast <to = 1> (x)
        y = Relu (f)
    }"""
    with pytest.raises(ExportError, match="'x' is still FP16"):
        emulated(model_of(text))


def test_network_runs_emulated_under_its_own_contract(lsc: Exported) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    sizes = np.array([[96, 64], [90, 64]], np.int32)
    with emulated_file(lsc.fp16.path) as path:
        sessions = OrtSession(path), OrtSession(lsc.fp16.path)
    emulated, plain = (session.run(images, sizes) for session in sessions)
    assert sessions[0].contract == sessions[1].contract
    assert sessions[0].contract.precision == "fp16"
    assert emulated["counts"].min() > 0
    assert (emulated["scores"] != plain["scores"]).any()
    assert not path.exists()


def test_verification_sees_an_overflow_that_the_file_itself_hides(
    lsc: Exported, tmp_path: Path
) -> None:
    """Times 2^30 and back: nothing in FP32, infinite in FP16."""
    model = onnx.load(lsc.fp16.path)
    # Not after a Conv: ONNX Runtime would fold the factors into its stored FP16 weights.
    position, layer = next((i, n) for i, n in enumerate(model.graph.node) if n.op_type == "Relu")
    name = layer.output[0]
    layer.output[0] = "before"
    for value in (2.0**15, 2.0**-15):
        stored = numpy_helper.from_array(np.array(value, np.float16), f"times{value}")
        model.graph.initializer.append(stored)
    places = ["before", "up1", "up2", "down1", name]
    for i, factor in enumerate((2.0**15, 2.0**15, 2.0**-15, 2.0**-15)):
        node = helper.make_node("Mul", [places[i], f"times{factor}"], [places[i + 1]])
        model.graph.node.insert(position + 1 + i, node)
    changed = tmp_path / "changed.onnx"
    onnx.save(model, changed)
    deployment = deploy(load_checkpoint(lsc.checkpoint), lsc.shapes)
    with pytest.raises(ExportError, match=r"^changed, rounded as a GPU does: "):
        verify(deployment, changed, "fp16", "changed", drawn_pictures(2))


@pytest.mark.parametrize("content", [None, b"no model", b""])
def test_file_that_is_no_fp16_export_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path, out = tmp_path / "a.onnx", tmp_path / "b.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx: .*(Export|export)"):
        write_emulated(path, out)
    assert not out.exists()


def test_fp32_export_and_the_file_itself_are_refused(lsc: Exported, tmp_path: Path) -> None:
    model = onnx.load(lsc.fp16.path)
    (entry,) = model.metadata_props
    entry.value = entry.value.replace('"precision": "fp16"', '"precision": "fp32"')
    path = tmp_path / "a.onnx"
    onnx.save(model, path)
    with pytest.raises(InputError, match="fp32 found; expected an export in fp16, int8 or fp8"):
        write_emulated(path, tmp_path / "b.onnx")
    with pytest.raises(InputError, match="would replace the file itself"):
        write_emulated(lsc.fp16.path, lsc.fp16.path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
