"""Every variant of FastMask, very small: exported in both precisions, verified, built."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maskrt.engines.builder import build_engine
from maskrt.export.precision.fp16 import precision_report
from maskrt.export.to_onnx import export
from maskrt.export.verify import verify
from maskrt.runtime.errors import ExportError
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint

SMALL = [
    "model.stem_channels=8",
    "model.body_channels=16",
    "model.reduced_channels=8",
    "model.score_channels=16",
    "model.score_hidden=16",
    "model.mask_rank=16",
    "input.canvas_hw=[128, 160]",
    "windows.per_image=60",
]
VARIANTS = {
    "two streams": [],
    "one stream": ["model.streams=1", "model.train_strides=[16]", "model.test_strides=[16,32,64]"],
    "vgg": ["model.body=vgg"],
    "pva": ["model.body=pva", "model.stem_channels=16"],
    "forward neck": ["model.neck=forward"],
    "average neck": ["model.neck=average"],
    "max neck": ["model.neck=max"],
    "standard head": ["model.head=standard"],
    "original code": ["model.compat=original"],
    "image pyramid": [
        "model.pyramid=image",
        "model.head=standard",
        "model.streams=1",
        "model.test_strides=[16,24,48]",
    ],
}


def untrained(folder: Path, overrides: list[str]) -> Path:
    path = folder / "model.safetensors"
    new_checkpoint(load_recipe("fastmask_tiny", [*SMALL, *overrides]), path)
    return path


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_exports_and_builds(overrides: list[str], tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path, overrides)
    fp32, fp16 = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    for report in export(checkpoint, {"fp32": fp32, "fp16": fp16}):
        assert report.verification.asked >= 10
        assert report.contract.task == "proposals"
        assert report.contract.operators == ("MaskrtWindowAlign",)
    assert precision_report(onnx.load(fp16)).mac_share > 0.99
    built = build_engine(fp16, tmp_path / "model.engine", "tensorrt-rtx")
    assert built.engine_path.stat().st_size > 10_000


def test_batches_export_too(tmp_path: Path) -> None:
    (report,) = export(
        untrained(tmp_path, []),
        {"fp32": tmp_path / "two.onnx"},
        shapes=Shapes(batch=2, proposals=30),
    )
    assert report.contract.output("masks").shape == (2, 30, 40, 40)
    assert report.verification.asked >= 60


@pytest.mark.parametrize("part", ["mask_1", "score_1", "body.res4"])
def test_a_broken_weight_is_noticed_even_in_an_untrained_network(part: str, tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path, ["model.mask_cells=8"])
    path = tmp_path / "model.onnx"
    export(checkpoint, {"fp32": path})
    broken = onnx.load(path)
    weights = [i for i in broken.graph.initializer if part in i.name and i.name.endswith("weight")]
    weights += [i for i in broken.graph.initializer if part == i.name.rpartition(".")[2]]
    assert weights, [i.name for i in broken.graph.initializer]
    for weight in weights:
        values = numpy_helper.to_array(weight)
        noise = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
        weight.CopyFrom(numpy_helper.from_array(3 * noise, weight.name))
    onnx.save(broken, path)
    with pytest.raises(ExportError, match="proposals that torch gives"):
        verify(deploy(load_checkpoint(checkpoint), Shapes()), path, "fp32", "model.onnx")
