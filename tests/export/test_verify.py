"""The last step of an export: what it lets pass and what it does not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maskrt.export.to_onnx import drawn_pictures
from maskrt.export.verify import compare_outputs, verify
from maskrt.runtime.errors import ExportError
from maskrt.train.deploy.deployment import deploy
from maskrt.train.weights.checkpoint import load_checkpoint

from .conftest import Exported


def changed_weights(network: Exported, part: str, path: Path) -> Path:
    """A copy of the FP32 file in which the weights of one layer stand elsewhere, three times."""
    model = onnx.load(network.fp32.path)
    names = [name.name for name in model.graph.initializer]
    chosen = [n for n in names if part in n and n.endswith("weight")]
    chosen += [n for n in names if part == n.rpartition(".")[2]]  # a bare parameter
    assert chosen, names
    for weight in model.graph.initializer:
        if weight.name in chosen:
            values = numpy_helper.to_array(weight)
            noise = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
            weight.CopyFrom(numpy_helper.from_array(3 * noise, weight.name))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("name", "part", "task"),
    [
        ("lsc", "subnet.conv1", "instances"),
        ("fastmask", "mask_1", "proposals"),
        ("fastmask", "score_1", "proposals"),
        ("fastmask", "body.res4", "proposals"),
    ],
)
def test_a_broken_weight_is_noticed_even_in_an_untrained_network(
    name: str, part: str, task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    network: Exported = request.getfixturevalue(name)
    broken = changed_weights(network, part, tmp_path / "broken.onnx")
    deployment = deploy(load_checkpoint(network.checkpoint), network.shapes)
    with pytest.raises(
        ExportError, match=rf"ONNX Runtime gives \d+ of \d+ {task} that torch gives"
    ):
        verify(deployment, broken, "fp32", "broken.onnx", drawn_pictures(2))


def test_values_that_are_not_finite_are_refused(lsc: Exported, tmp_path: Path) -> None:
    model = onnx.load(lsc.fp32.path)
    (weight,) = (w for w in model.graph.initializer if w.name.endswith("mask_head.deconv.weight"))
    nothing = np.full(tuple(weight.dims), np.nan, np.float32)
    weight.CopyFrom(numpy_helper.from_array(nothing, weight.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    deployment = deploy(load_checkpoint(lsc.checkpoint), lsc.shapes)
    with pytest.raises(ExportError, match=r"^broken: output 'masks' holds NaN .*expected finite"):
        verify(deployment, broken, "fp32", "broken", drawn_pictures(2))


def test_every_picture_is_compared_and_no_empty_canvas(lsc: Exported) -> None:
    deployment = deploy(load_checkpoint(lsc.checkpoint), lsc.shapes)
    pictures = drawn_pictures(3)  # two canvases in a batch
    whole = verify(deployment, lsc.fp32.path, "fp32", "x.onnx", pictures)
    parts = [verify(deployment, lsc.fp32.path, "fp32", "x.onnx", [one]) for one in pictures]
    assert whole.asked == whole.found == sum(part.asked for part in parts) > 0
    assert (whole.pictures, [part.pictures for part in parts]) == (3, [1, 1, 1])


@pytest.mark.parametrize(("shift_px", "agree"), [(0.04, True), (0.2, False)])
def test_slivers_are_compared_by_their_corners(shift_px: float, agree: bool, lsc: Exported) -> None:
    contract = lsc.fp32.contract
    one = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in contract.outputs}
    one["counts"][:] = 1
    one["scores"][:, 0] = 1.0
    one["boxes"][:, 0] = (3.0, 20.0, 60.0, 20.001)
    other = {name: value.copy() for name, value in one.items()}
    other["boxes"][:, 0, 1::2] += shift_px  # an IoU of 0
    found = compare_outputs(one, other, "fp32")
    assert (found.asked, found.found) == (4, 4 if agree else 0)
