"""Exact rewrites: where they act, why not elsewhere, and the same numbers before and after."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import checker, helper, numpy_helper, parser

from maskrt.cli.main import parser as command_line
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.roi_align import roi_align_nodes
from maskrt.export.rules.exact_rules import (
    DEFAULT_RULES,
    RULES,
    Outcome,
    apply_rules,
    rule_names,
)
from maskrt.export.to_onnx import export
from maskrt.runtime.errors import InputError
from maskrt.runtime.sessions.ort_session import OrtSession

from ..conftest import Exported

Floats = npt.NDArray[np.float32]

HEADER = '<ir_version: 8, opset_import: ["" : 18, "maskrt" : 1]>'
INPUTS = "float[1, 32, 12, 16] x, float[1, 20, 4] rois, float[1, 6, 4] boxes"
ALIGN = "maskrt.MaskrtRoiAlign <output_size = 14, spatial_scale = 0.0625, sampling_ratio = {}>"
# FP32 sums in another order through the whole network, relative to the largest value.
NETWORK_TOLERANCE = 1e-5

WEIGHTS = {
    "ws": (48, 32, 1, 1), "bs": (48,), "wc": (16, 32, 1, 1), "bc": (16,),
    "w3": (16, 32, 3, 3),
}  # fmt: skip


def c5(sampling: int = 2) -> str:
    """The start of a C5 subnet on two sets of boxes of one map."""
    align = ALIGN.format(sampling)
    return f"""g ({INPUTS}) => (float[20, 48, 7, 7] s, float[20, 16, 7, 7] c,
                                float[6, 48, 7, 7] s2, float[6, 16, 7, 7] c2)
    {{ m = Relu (x)
      r = {align} (m, rois)
      s = Conv <strides = [2, 2]> (r, ws, bs)
      h = Conv <strides = [2, 2]> (r, wc, bc)
      c = Relu (h)
      r2 = {align} (m, boxes)
      s2 = Conv <strides = [2, 2]> (r2, ws, bs)
      h2 = Conv <strides = [2, 2]> (r2, wc, bc)
      c2 = Relu (h2) }}"""


def one_reader(call: str, output: str, before: str = "") -> str:
    """One RoIAlign of the map and what reads it."""
    return f"""g ({INPUTS}) => ({output}) {{ {before}
      r = {ALIGN.format(2)} (x, rois)
      {call} }}"""


def model_of(text: str) -> onnx.ModelProto:
    model = parser.parse_model(HEADER + text)
    rng = np.random.default_rng(3)
    read = {name for node in model.graph.node for name in node.input}
    for name, shape in WEIGHTS.items():
        if name in read:
            values = rng.normal(size=shape).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def feeds() -> dict[str, Floats]:
    """A map, boxes clipped to its 192x256 px; the last three slots of each set are empty."""
    rng = np.random.default_rng(4)
    values = {"x": rng.normal(size=(1, 32, 12, 16)).astype(np.float32)}
    for name, slots in (("rois", 20), ("boxes", 6)):
        low = rng.uniform(-20, (250, 185), (1, slots, 2))
        high = low + rng.uniform(25, 200, (1, slots, 2))
        rois = np.concatenate((low, high), axis=2).clip(0, (256, 192, 256, 192))
        rois[:, -3:] = 0
        values[name] = rois.astype(np.float32)
    return values


def run(model: onnx.ModelProto, **fed: Floats) -> list[Floats]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, fed)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def steps(model: onnx.ModelProto) -> list[tuple[int, bytes]]:
    """Bin step and plugin string of every RoIAlign."""
    read = [
        {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for node in roi_align_nodes(model)
    ]
    return [(values["bin_step"], values["cfg"]) for values in read]


def test_the_stride_moves_into_the_bin_step() -> None:
    model = model_of(c5())
    result, outcomes = apply_rules(model)
    checker.check_model(result, full_check=True)
    assert outcomes[0] == Outcome("even_bins", 2, ())
    assert operators(result) == operators(model)
    assert steps(result) == [(2, b"oh=14;ow=14;sr=2;step=2;scale=0.0625;aligned=1")] * 2
    strides = [a.ints for n in result.graph.node for a in n.attribute if a.name == "strides"]
    assert strides == [[1, 1]] * 4
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in result.graph.value_info}  # fmt: skip
    assert shapes["r"] == [20, 32, 7, 7]
    assert shapes["r2"] == [6, 32, 7, 7]


@pytest.mark.parametrize("sampling", [2, 0])
def test_it_gives_the_same_numbers(sampling: int) -> None:
    model = model_of(c5(sampling))
    for found, wanted in zip(
        run(apply_rules(model)[0], **feeds()),
        run(add_functions(model), **feeds()),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_convolutions_keep_what_is_left_of_unequal_strides() -> None:
    model = model_of(
        one_reader(
            "a = Conv <strides = [4, 4]> (r, wc) b = Conv <strides = [6, 2]> (r, wc)",
            "float[20, 16, 4, 4] a, float[20, 16, 3, 7] b",
        )
    )
    result, _ = apply_rules(model)
    assert [step for step, _ in steps(result)] == [2]
    strides = [a.ints for n in result.graph.node for a in n.attribute if a.name == "strides"]
    assert strides == [[2, 2], [3, 1]]
    for found, wanted in zip(
        run(result, **feeds()), run(add_functions(model), **feeds()), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_step_that_is_there_is_multiplied() -> None:
    text = one_reader("a = Conv <strides = [2, 2]> (r, wc)", "float[20, 16, 4, 4] a")
    model = model_of(text.replace("sampling_ratio = 2", "sampling_ratio = 2, bin_step = 2"))
    result, _ = apply_rules(model)
    assert [step for step, _ in steps(result)] == [4]
    (found,), (wanted,) = run(result, **feeds()), run(add_functions(model), **feeds())
    np.testing.assert_array_equal(found, wanted)


REFUSALS = {
    "dense": (
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc) z = Conv (r, wc)",
            "float[20, 16, 7, 7] y, float[20, 16, 14, 14] z",
        ),
        "z of stride 1x1 reads every bin",
    ),
    "3x3": (
        one_reader("y = Conv <strides = [2, 2]> (r, w3)", "float[20, 16, 6, 6] y"),
        "y is a 3x3 convolution and mixes bins",
    ),
    "padding": (
        one_reader(
            "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, wc)", "float[20, 16, 8, 8] y"
        ),
        "y pads the regions",
    ),
    "another reader": (
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc) z = Relu (r)",
            "float[20, 16, 7, 7] y, float[20, 32, 14, 14] z",
        ),
        "z also reads the regions, a Relu and no convolution",
    ),
    "output": (
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc)", "float[20, 16, 7, 7] y, float[20, 32, 14, 14] r"
        ),
        "the pooled regions are an output of the graph",
    ),
    "computed weights": (
        one_reader(
            "y = Conv <strides = [2, 2]> (r, v)", "float[20, 16, 7, 7] y", before="v = Neg (wc)"
        ),
        "y has computed weights",
    ),
    "one axis": (
        one_reader("y = Conv <strides = [2, 1]> (r, wc)", "float[20, 16, 7, 14] y"),
        "y of stride 2x1 reads every bin",
    ),
    "no RoIAlign": (
        "g (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }",
        "the network has no MaskrtRoiAlign",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_rule_that_does_not_apply_says_why(case: str) -> None:
    text, reason = REFUSALS[case]
    model = model_of(text)
    result, (found,) = apply_rules(model)
    assert found == Outcome("even_bins", 0, (reason,))
    assert str(found) == f"exact rewrite even_bins: not applied: {reason}"
    assert operators(result) == operators(model)


def test_a_rule_that_nobody_asked_for_says_so() -> None:
    model = add_functions(model_of(c5()))
    result, outcomes = apply_rules(model, ())
    told = [f"exact rewrite {name}: not applied: not asked for" for name in RULES]
    assert [str(outcome) for outcome in outcomes] == told
    assert list(result.graph.node) == list(model.graph.node)


def test_the_model_given_is_left_alone() -> None:
    model = model_of(c5())
    before = model.SerializeToString(deterministic=True)
    apply_rules(model)
    assert model.SerializeToString(deterministic=True) == before


def test_names_are_read_as_the_command_line_writes_them() -> None:
    assert rule_names("all") == tuple(RULES)
    assert rule_names("none") == ()
    given = vars(command_line().parse_args(["export", "a.safetensors", "-o", "a.onnx"]))
    assert rule_names(given["rules"]) == DEFAULT_RULES
    assert rule_names(" even_bins ") == ("even_bins",)
    with pytest.raises(InputError, match="'fuse' found; expected all, none or some of even_bins"):
        rule_names("even_bins,fuse")


def test_unknown_rule_is_refused_before_any_work(maskrt: Any, tmp_path: Path) -> None:
    words = ("export", tmp_path / "a.safetensors", "-o", tmp_path / "a.onnx", "--rules", "fuse")
    ran = maskrt(*words)
    assert ran.code == 2
    assert ran.err.startswith("maskrt export: --rules: 'fuse' found; expected all, none")
    assert len(ran.err.splitlines()) == 1


def outputs(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What a 64x96 network finds on four pictures of noise, the last of them smaller."""
    session = OrtSession(path)
    rng = np.random.default_rng(6)
    runs = []
    for valid in ((64, 96), (64, 96), (64, 80), (40, 60)):
        images = rng.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
        runs.append(session.run(images, np.array([valid], np.int32)))
    session.close()
    return {name: np.concatenate([one[name] for one in runs]) for name in runs[0]}


def test_a_network_gives_what_it_gave_without_rules(baseline: Exported, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    (report,) = export(baseline.checkpoint, {"fp32": plain}, rules=())
    assert [outcome.rewritten for outcome in report.rules] == [0]
    assert baseline.fp32.rules == (Outcome("even_bins", 2, ()),)
    wanted, found = outputs(plain), outputs(baseline.fp32.path)
    assert wanted["counts"].min() > 0
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance(value))


def tolerance(values: npt.NDArray[Any]) -> float:
    """Sums in another order through fifteen layers; nothing for counts and labels."""
    exact = np.issubdtype(values.dtype, np.integer)
    return 0 if exact else NETWORK_TOLERANCE * float(np.abs(values).max())
