"""Every variant of FastMask, very small, exported in both precisions and verified."""

from pathlib import Path

import onnx
import pytest

from maskrt.export.macs import graph_macs
from maskrt.export.to_onnx import ExportReport, export

from .conftest import Exported, MakeCheckpoint

# Each body, neck and head once; two streams, the residual neck and the attentional head are
# `fastmask` of conftest.py, which is also built.
VARIANTS = {
    "one stream, VGG, forward neck": (
        "model.streams=1", "model.train_strides=[16]", "model.test_strides=[16,32,64]",
        "model.body=vgg", "model.neck=forward",
    ),
    "PVA, max neck, standard head": (
        "model.body=pva", "model.stem_channels=16", "model.neck=max", "model.head=standard",
    ),
    "average neck, original code": ("model.neck=average", "model.compat=original"),
    "image pyramid": (
        "model.pyramid=image", "model.head=standard", "model.streams=1",
        "model.test_strides=[16,24,48]",
    ),
}  # fmt: skip


def check(reports: list[ExportReport], pictures: int = 1) -> None:
    for report in reports:
        assert report.verification.asked >= 10 * pictures
        assert report.contract.task == "proposals"
        assert report.contract.operators == ("MaskrtWindowAlign",)
    assert graph_macs(onnx.load(reports[-1].path)).half_layer_share > 0.99


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_exports(
    variant: str, untrained_fastmask: MakeCheckpoint, tmp_path: Path
) -> None:
    paths = {"fp32": tmp_path / "fp32.onnx", "fp16": tmp_path / "fp16.onnx"}
    check(export(untrained_fastmask(*VARIANTS[variant]), paths))


def test_batches_export_too(fastmask: Exported) -> None:
    check([fastmask.fp32, fastmask.fp16], pictures=2)
    assert fastmask.fp32.contract.output("masks").shape == (2, 30, 40, 40)
    assert fastmask.fp32.verification.asked >= 60
