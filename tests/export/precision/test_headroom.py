"""The largest value of each FP16 tensor, and what happens where one leaves FP16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskrt.export.precision.emulation import emulated_file
from maskrt.export.precision.headroom import measure_headroom
from maskrt.export.to_onnx import ExportReport, drawn_pictures, export
from maskrt.runtime.errors import ExportError, SessionError
from maskrt.runtime.pictures.preprocess import place_on_canvas
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.train.deploy.deployment import deploy
from maskrt.train.weights.checkpoint import load_checkpoint, save_checkpoint

from ..conftest import Exported

HALF_MAX = 65504
LAYER = "model.subnet.conv1"
DIM = [np.full((96, 64, 3), 127, np.uint8)] * 2
BRIGHT = drawn_pictures(3)


def peaks(network: Exported) -> tuple[float, float]:
    """What torch gives behind the layer: the largest |x| before its ReLU, and x after it."""
    deployment = deploy(load_checkpoint(network.checkpoint), network.shapes)
    seen: list[tuple[float, float]] = []
    conv = deployment.module.get_submodule(LAYER)
    conv.relu = False
    conv.register_forward_hook(lambda _, __, x: seen.append((float(x.abs().max()), float(x.max()))))
    conv.register_forward_hook(lambda _, __, x: x.relu())
    for start in range(0, len(BRIGHT), 2):
        images, sizes = place_on_canvas(BRIGHT[start : start + 2], deployment.contract)
        with torch.inference_mode():
            deployment.module(torch.from_numpy(images), torch.from_numpy(sizes))
    before, after = zip(*seen, strict=True)
    return max(before), max(after)


def scaled(network: Exported, factor: float, path: Path) -> Path:
    """The same function with larger values between two layers."""
    checkpoint = load_checkpoint(network.checkpoint)
    subnet = checkpoint.model.subnet
    with torch.no_grad():
        affine = subnet.conv1.norm or subnet.conv1
        affine.weight.mul_(factor)
        affine.bias.mul_(factor)
        subnet.conv2.weight.div_(factor)
    save_checkpoint(path, checkpoint.model)
    return path


@pytest.fixture(scope="module")
def big(lsc: Exported, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """Verified on dim pictures; on the drawn ones 90,000 comes out of a layer's ReLU."""
    folder = tmp_path_factory.mktemp("big")
    checkpoint = scaled(lsc, 90_000 / peaks(lsc)[1], folder / "big.safetensors")
    paths = {"fp16": folder / "big.onnx"}
    (report,) = export(checkpoint, paths, shapes=lsc.shapes, pictures=DIM)
    return report


def test_the_share_is_the_largest_value_over_all_pictures(big: ExportReport, lsc: Exported) -> None:
    dim = big.headroom
    headroom = measure_headroom(big.path, [*DIM, *BRIGHT])
    assert dim is not None
    assert (dim.pictures, headroom.pictures) == (2, 5)
    assert dim.tensors == headroom.tensors > 20
    shares = [peak.share for peak in headroom.worst]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert headroom.worst[0].name == LAYER
    before, after = peaks(lsc)
    assert shares[0] == pytest.approx(90_000 / HALF_MAX * before / after, rel=0.02)
    assert dim.overflows == ()
    assert headroom.overflows == headroom.worst[:1]
    assert str(headroom).startswith(f"FP16 headroom, largest |x| / 65504 on 5 pictures: {LAYER} ")


def test_an_overflow_is_an_error_and_no_missing_instance(big: ExportReport) -> None:
    with emulated_file(big.path) as path, Predictor(OrtSession(path)) as predictor:
        predictor.predict(DIM)
        with pytest.raises(SessionError, match=r"output '\w+' holds NaN or infinity .* 65504"):
            predictor.predict(BRIGHT)


def test_an_overflow_is_refused_by_export_with_the_tensors_name(
    lsc: Exported, big: ExportReport, tmp_path: Path
) -> None:
    checkpoint, out = big.path.with_suffix(".safetensors"), tmp_path / "big.onnx"
    with pytest.raises(ExportError, match=rf"NaN or infinity .* headroom.*: {LAYER} "):
        export(checkpoint, {"fp16": out}, shapes=lsc.shapes, pictures=BRIGHT)
    assert not out.exists()
