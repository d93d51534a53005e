"""Exact rewrites: where they act, why not elsewhere, and the same numbers before and after."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import checker, helper, numpy_helper, parser

from maskrt.cli.main import parser as command_line
from maskrt.engines.builder import build_engine
from maskrt.export.macs import graph_macs
from maskrt.export.operators.roi_align import add_functions, roi_align_nodes
from maskrt.export.precision.fp16 import precision_report, to_fp16
from maskrt.export.precision.mixed_graph import scope_of
from maskrt.export.rules.exact_rules import (
    ALL_RULES,
    DEFAULT_RULES,
    Outcome,
    apply_rules,
    convolve_first,
    rule_names,
)
from maskrt.export.rules.pooled_graph import PooledGraph
from maskrt.export.to_onnx import export
from maskrt.runtime.errors import InputError
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.train.weights.checkpoint import load_tensors, save_tensors

from ..conftest import MakeCheckpoint

Floats = npt.NDArray[np.float32]

HEADER = '<ir_version: 8, opset_import: ["" : 18, "maskrt" : 1]>'
INPUTS = "float[1, 32, 12, 16] x, float[1, 20, 4] rois, float[1, 6, 4] boxes"
ALIGN = "maskrt.MaskrtRoiAlign <output_size = 14, spatial_scale = 0.0625, sampling_ratio = {}>"
# FP32 sums of 32 products and of a region's pixels in another order, relative to the largest value.
FP32_TOLERANCE = 1e-6
# The same through the whole network of fifteen layers.
NETWORK_TOLERANCE = 1e-5

WEIGHTS = {
    "ws": (48, 32, 1, 1), "bs": (48,), "wc": (16, 32, 1, 1), "bc": (16,), "wo": (16, 32, 1, 1),
    "w3": (16, 32, 3, 3), "wide": (640, 32, 1, 1), "narrow": (16, 4, 1, 1),
}  # fmt: skip


def c5(sampling: int = 2, shortcut: str = "2, 2", conv1: str = "2, 2", last: str = "wc") -> str:
    """The start of a C5 subnet on two sets of boxes of one map."""
    align = ALIGN.format(sampling)
    sides = ["7" if stride == "2, 2" else "14" for stride in (shortcut, conv1)]
    s, c = (f"{side}, {side}" for side in sides)
    return f"""g ({INPUTS}) => (float[20, 48, {s}] s, float[20, 16, {c}] c,
                                float[6, 48, {s}] s2, float[6, 16, {c}] c2)
    {{ m = Relu (x)
      r = {align} (m, rois)
      s = Conv <strides = [{shortcut}]> (r, ws, bs)
      h = Conv <strides = [{conv1}]> (r, wc, bc)
      c = Relu (h)
      r2 = {align} (m, boxes)
      s2 = Conv <strides = [{shortcut}]> (r2, ws, bs)
      h2 = Conv <strides = [{conv1}]> (r2, {last}, bc)
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


def relative_difference(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def outcome(model: onnx.ModelProto, rule: str) -> Outcome:
    return next(o for o in apply_rules(model, (rule,))[1] if o.rule == rule)


# ------------------------------------------------------------------------------------ even_bins


def test_even_bins_moves_the_stride_into_the_bin_step() -> None:
    model = model_of(c5())
    result, outcomes = apply_rules(model, ("even_bins",))
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
def test_even_bins_gives_the_same_numbers(sampling: int) -> None:
    model = model_of(c5(sampling))
    for found, wanted in zip(
        run(apply_rules(model, ("even_bins",))[0], **feeds()),
        run(add_functions(model), **feeds()),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_even_bins_keeps_what_is_left_of_unequal_strides() -> None:
    model = model_of(
        one_reader(
            "a = Conv <strides = [4, 4]> (r, wc) b = Conv <strides = [6, 2]> (r, wc)",
            "float[20, 16, 4, 4] a, float[20, 16, 3, 7] b",
        )
    )
    result, _ = apply_rules(model, ("even_bins",))
    assert [step for step, _ in steps(result)] == [2]
    strides = [a.ints for n in result.graph.node for a in n.attribute if a.name == "strides"]
    assert strides == [[2, 2], [3, 1]]
    for found, wanted in zip(
        run(result, **feeds()), run(add_functions(model), **feeds()), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_even_bins_multiplies_a_step_that_is_there() -> None:
    text = one_reader("a = Conv <strides = [2, 2]> (r, wc)", "float[20, 16, 4, 4] a")
    model = model_of(text.replace("sampling_ratio = 2", "sampling_ratio = 2, bin_step = 2"))
    result, _ = apply_rules(model, ("even_bins",))
    assert [step for step, _ in steps(result)] == [4]
    (found,), (wanted,) = run(result, **feeds()), run(add_functions(model), **feeds())
    np.testing.assert_array_equal(found, wanted)


# ------------------------------------------------------------------------------- convolve_first


def test_convolve_first_runs_each_convolution_once_on_the_map() -> None:
    model = model_of(c5())
    result, outcomes = apply_rules(model, ALL_RULES)
    checker.check_model(result, full_check=True)
    assert outcomes == (Outcome("even_bins", 2, ()), Outcome("convolve_first", 1, ()))
    assert operators(result) == {"Relu": 3, "Conv": 2, "MaskrtRoiAlign": 4}
    maps = [node for node in result.graph.node if node.op_type == "Conv"]
    assert [node.input[0] for node in maps] == ["m", "m"]
    pooled = {node.output[0]: node.input[0] for node in roi_align_nodes(result)}
    s, c = (node.output[0] for node in maps)
    assert pooled == {"s": s, "h": c, "s2": s, "h2": c}
    assert {step for step, _ in steps(result)} == {2}
    assert graph_macs(result).macs < graph_macs(apply_rules(model, ("even_bins",))[0]).macs


@pytest.mark.parametrize(
    "layout",
    [{}, {"conv1": "1, 1"}, {"last": "wo"}],
    ids=["stride in 1x1", "stride in 3x3", "a branch with its own weights"],
)
@pytest.mark.parametrize(
    "names", [("convolve_first",), ALL_RULES], ids=["alone", "after the other"]
)
def test_convolve_first_gives_the_same_numbers(
    layout: dict[str, Any], names: tuple[str, ...]
) -> None:
    model = model_of(c5(**layout))
    result, outcomes = apply_rules(model, names)
    assert outcomes[1].rewritten == 1
    assert operators(result)["Conv"] == (3 if "last" in layout else 2)
    for found, wanted in zip(
        run(result, **feeds()), run(add_functions(model), **feeds()), strict=True
    ):
        assert relative_difference(found, wanted) < FP32_TOLERANCE


def test_only_empty_slots_differ_with_adaptive_sampling() -> None:
    """They have no sample: the convolution of nothing is its bias, the pooling of it is 0."""
    model = model_of(c5(sampling=0))
    results = zip(
        run(apply_rules(model, ALL_RULES)[0], **feeds()),
        run(add_functions(model), **feeds()),
        strict=True,
    )
    bias = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "bs"))
    for i, (found, wanted) in enumerate(results):
        assert relative_difference(found[:-3], wanted[:-3]) < FP32_TOLERANCE
        assert (found[-3:] == 0).all()
        if i % 2 == 0:  # the shortcut, which no ReLU follows
            assert (wanted[-3:] == bias[:, None, None]).all()


@pytest.mark.parametrize("layout", [{}, {"conv1": "1, 1"}, {"last": "wo"}])
def test_the_weighed_products_are_those_of_the_graph(layout: dict[str, Any]) -> None:
    model = add_functions(model_of(c5(**layout)))
    graph = PooledGraph(model)
    (site,) = convolve_first.pattern(graph)
    behind, first = convolve_first.macs(graph, site)
    assert behind == graph_macs(model).macs
    assert first == graph_macs(apply_rules(model, ("convolve_first",))[0]).macs


def test_maps_are_weighed_one_by_one() -> None:
    """A second map, whose 6 boxes are too few for a shortcut of 640 channels."""
    text = c5().replace("r2 = ", "m2 = Neg (x) r2 = ").replace("(m, boxes)", "(m2, boxes)")
    text = text.replace("(r2, ws, bs)", "(r2, wide)").replace("6, 48", "6, 640")
    result, outcomes = apply_rules(model_of(text), ALL_RULES)
    assert outcomes[1].rewritten == 1
    assert len(outcomes[1].reasons) == 1
    assert "it would not pay" in str(outcomes[1])
    assert operators(result)["Conv"] == 4


# ------------------------------------------------------------------------------------- refusals

REFUSALS = {
    "dense": (
        "even_bins",
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc) z = Conv (r, wc)",
            "float[20, 16, 7, 7] y, float[20, 16, 14, 14] z",
        ),
        "z of stride 1x1 reads every bin",
    ),
    "3x3": (
        "even_bins",
        one_reader("y = Conv <strides = [2, 2]> (r, w3)", "float[20, 16, 6, 6] y"),
        "y is a 3x3 convolution and mixes bins",
    ),
    "padding": (
        "even_bins",
        one_reader(
            "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, wc)", "float[20, 16, 8, 8] y"
        ),
        "y pads the regions",
    ),
    "another reader": (
        "even_bins",
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc) z = Relu (r)",
            "float[20, 16, 7, 7] y, float[20, 32, 14, 14] z",
        ),
        "z also reads the regions, a Relu and no convolution",
    ),
    "output": (
        "even_bins",
        one_reader(
            "y = Conv <strides = [2, 2]> (r, wc)", "float[20, 16, 7, 7] y, float[20, 32, 14, 14] r"
        ),
        "the pooled regions are an output of the graph",
    ),
    "computed weights": (
        "convolve_first",
        one_reader("y = Conv (r, v)", "float[20, 16, 14, 14] y", before="v = Neg (wc)"),
        "y has computed weights",
    ),
    "3x3 too": (
        "convolve_first",
        one_reader("y = Conv (r, w3)", "float[20, 16, 12, 12] y"),
        "y is a 3x3 convolution and mixes bins",
    ),
    "two strides": (
        "convolve_first",
        one_reader("y = Conv <strides = [2, 1]> (r, wc)", "float[20, 16, 7, 14] y"),
        "y has stride 2x1, not one for both",
    ),
    "dear": (
        "convolve_first",
        one_reader("y = Conv (r, narrow)", "float[20, 16, 14, 14] y").replace("32, 12", "4, 12"),
        # 20 boxes, 14 bins, a 12x16 map: as it is 4 channels are pooled and 20 * 196 bins
        # convolved; rewritten 192 pixels are convolved and 16 channels pooled.
        (
            f"{192 * 4 * 16 + 16 * 20 * 14 * 12 * 30:.3g} multiply-accumulates instead of"
            f" {4 * 20 * 14 * 12 * 30 + 20 * 196 * 4 * 16:.3g}: it would not pay"
        ),
    ),
    "unknown size": (
        "convolve_first",
        one_reader("y = Conv (r, wc)", "float[20, 16, 14, 14] y").replace("32, 12, 16", "32, H, W"),
        "the shape of 'x' is not static",
    ),
    "no RoIAlign": (
        "even_bins",
        "g (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }",
        "the network has no MaskrtRoiAlign",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_rule_that_does_not_apply_says_why(case: str) -> None:
    rule, text, reason = REFUSALS[case]
    model = model_of(text)
    result, outcomes = apply_rules(model, (rule,))
    (found,) = (o for o in outcomes if o.rule == rule)
    assert found.rewritten == 0
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]
    assert str(found) == f"{rule}: left out: {found.reasons[0]}"
    assert operators(result) == operators(model)


def test_a_rule_that_nobody_asked_for_says_so() -> None:
    model = add_functions(model_of(c5()))
    result, outcomes = apply_rules(model, ())
    assert [str(o) for o in outcomes] == [f"{name}: left out: not asked for" for name in ALL_RULES]
    assert list(result.graph.node) == list(model.graph.node)


def test_the_model_given_is_left_alone() -> None:
    model = model_of(c5())
    before = model.SerializeToString(deterministic=True)
    apply_rules(model, ALL_RULES)
    assert model.SerializeToString(deterministic=True) == before


def test_names_are_read_as_the_command_line_writes_them() -> None:
    assert rule_names("all") == ALL_RULES
    assert rule_names("none") == ()
    given = vars(command_line().parse_args(["export", "a.safetensors", "-o", "a.onnx"]))
    assert rule_names(given["rules"]) == DEFAULT_RULES
    assert rule_names("convolve_first, even_bins") == ("convolve_first", "even_bins")
    with pytest.raises(InputError, match="'fuse' found; expected all, none or some of even_bins"):
        rule_names("even_bins,fuse")


def test_unknown_rule_is_refused_before_any_work(maskrt: Any, tmp_path: Path) -> None:
    words = ("export", tmp_path / "a.safetensors", "-o", tmp_path / "a.onnx", "--rules", "fuse")
    ran = maskrt(*words)
    assert ran.code == 2
    assert ran.err.startswith("maskrt export: --rules: 'fuse' found; expected all, none")
    assert len(ran.err.splitlines()) == 1


# ------------------------------------------------------------------------------ whole networks

BASELINE = "mask_rcnn_r50_c4"
NETWORKS: dict[str, tuple[str, tuple[str, ...], tuple[int, int], str]] = {
    "baseline": (BASELINE, (), (2, 1), ""),
    "adaptive sampling": (BASELINE, ("model.sampling_ratio=0",), (2, 1), ""),
    "stride in 3x3": (
        BASELINE,
        ("model.stride_in_1x1=false",),
        (0, 1),
        "even_bins: left out: model.subnet.res5.0.conv1 of stride 1x1 reads every bin",
    ),
    "separable and c5": (
        "lsc_mask_rcnn_r50_512",
        ("model.separable_channels=4", "model.subnet=c5"),
        (2, 0),
        "it would not pay",
    ),
}


@pytest.fixture(scope="module")
def biased(lively: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`lively` with biases in every layer: untrained norms have none, and export drops zeros."""
    folder = tmp_path_factory.mktemp("biased")

    def make(recipe: str, *overrides: str) -> Path:
        source = lively(recipe, *overrides)
        tensors, metadata = load_tensors(source)
        generator = torch.Generator().manual_seed(5)
        for name, value in tensors.items():
            if name.startswith("subnet") and name.endswith("bias"):
                value.uniform_(-0.5, 0.5, generator=generator)
        path = folder / source.name
        save_tensors(path, tensors, metadata)
        path.with_suffix(".yaml").write_bytes(source.with_suffix(".yaml").read_bytes())
        return path

    return make


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


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_give_what_they_gave_without_rules(
    network: str, biased: MakeCheckpoint, tmp_path: Path
) -> None:
    recipe, overrides, rewritten, reason = NETWORKS[network]
    checkpoint = biased(recipe, *overrides)
    plain, ruled = tmp_path / "plain.onnx", tmp_path / "ruled.onnx"
    export(checkpoint, {"fp32": plain}, rules=())
    (report,) = export(checkpoint, {"fp32": ruled}, rules=ALL_RULES)
    assert report.verification.asked > 0
    assert tuple(o.rewritten for o in report.rules) == rewritten
    assert reason in "; ".join(map(str, report.rules))
    wanted, found = outputs(plain), outputs(ruled)
    assert wanted["counts"].min() > 0
    for name in ("counts", "labels"):
        np.testing.assert_array_equal(found[name], wanted[name])
    for name in ("boxes", "scores", "masks"):
        assert relative_difference(found[name], wanted[name]) < NETWORK_TOLERANCE


@pytest.fixture(scope="module")
def baseline(biased: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The rewritten baseline in FP32 and FP16."""
    folder = tmp_path_factory.mktemp("baseline")
    fp32, fp16 = folder / "fp32.onnx", folder / "fp16.onnx"
    export(biased(BASELINE), {"fp32": fp32, "fp16": fp16}, rules=ALL_RULES)
    return fp32, fp16


def moved(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.name.endswith("_on_map")]


def test_moved_convolutions_keep_their_module(baseline: tuple[Path, Path]) -> None:
    model = onnx.load(baseline[0])
    assert sorted(map(scope_of, moved(model))) == [
        "model.subnet.res5.0.conv1",
        "model.subnet.res5.0.shortcut",
    ]
    assert all(node.metadata_props for node in moved(model))
    kept = to_fp16(model, ("subnet.res5.0.conv1",))
    halves = {t.name for t in kept.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert "model.subnet.res5.0.shortcut.weight" in halves
    assert "model.subnet.res5.0.conv1.weight" not in halves


def test_moved_convolutions_and_their_regions_are_fp16(baseline: tuple[Path, Path]) -> None:
    model = onnx.load(baseline[1])
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    names = [node.output[0] for node in (*moved(model), *roi_align_nodes(model))]
    assert len(names) == 6
    assert {kinds[name] for name in names} == {onnx.TensorProto.FLOAT16}
    readers = [node for node in model.graph.node if set(node.input) & set(names)]
    assert Counter(n.op_type for n in readers) == {"MaskrtRoiAlign": 4, "Relu": 2, "Add": 2}
    assert precision_report(model).mac_share == 1.0


def test_the_rewritten_network_builds(baseline: tuple[Path, Path], tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    report = build_engine(baseline[1], engine, operators="portable", progress=False)
    assert report.network.fp16_mac_share > 0.99
