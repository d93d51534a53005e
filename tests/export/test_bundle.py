"""Bundles hold what single files hold, weights once, and every reader opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from maskrt.engines.inline import portable_model
from maskrt.export.bundle import export_bundle
from maskrt.export.shared_weights import PAGE_BYTES, SharedWeights
from maskrt.export.to_onnx import ExportReport, export
from maskrt.runtime.bundle import INDEX, WEIGHTS, read_bundle
from maskrt.runtime.contract import Outputs, Precision
from maskrt.runtime.errors import ExportError, InputError
from maskrt.runtime.pictures.noise import noise_batch
from maskrt.runtime.sessions.open import open_artefact
from maskrt.train.deploy.deployment import Shapes

from .conftest import LSC, Exported, MakeCheckpoint

CANVASES = ((64, 96), (96, 64))


def bundled(checkpoint: Path, folder: Path, precision: Precision = "fp32") -> list[ExportReport]:
    def export_one(path: Path, hw: tuple[int, int], weights: SharedWeights) -> ExportReport:
        (report,) = export(checkpoint, {precision: path}, shapes=Shapes(hw), weights=weights)
        return report

    return export_bundle(folder, CANVASES, export_one)


@pytest.fixture(scope="module")
def checkpoint(lively: MakeCheckpoint) -> Path:
    return lively(LSC, "model.separable_channels=16", "model.subnet_channels=32")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "model"
    reports = bundled(checkpoint, folder)
    assert [report.path for report in reports] == [folder / "64x96.onnx", folder / "96x64.onnx"]
    assert all(report.verification.asked > 0 for report in reports)
    return folder


def run(path: Path, session: str | None = None) -> Outputs:
    with open_artefact(path, session) as opened:
        return opened.run(*noise_batch(opened.contract))


def same(first: Outputs, second: Outputs, tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=0, atol=tolerance, err_msg=name)


def test_a_graph_gives_what_a_file_by_itself_gives(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.onnx"
    export(checkpoint, {"fp32": alone}, shapes=Shapes((96, 64)))
    same(run(bundle / "96x64.onnx"), run(alone))


def test_weights_are_there_once_and_the_index_names_every_file(bundle: Path) -> None:
    index = read_bundle(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == [
        "64x96.onnx", "96x64.onnx", INDEX, WEIGHTS,
    ]  # fmt: skip
    assert index.canvases == CANVASES
    assert index.weights is not None
    first, second = (
        {t.name: t for t in onnx.load(bundle / g.file, load_external_data=False).graph.initializer}
        for g in index.graphs
    )
    places = [{e.key: e.value for e in t.external_data} for t in first.values() if t.external_data]
    assert len(places) > 5
    assert all(int(place["offset"]) % PAGE_BYTES == 0 for place in places)
    shared = [
        name
        for name, tensor in first.items()
        if tensor.external_data and name in second and tensor == second[name]
    ]
    # all that is large but what depends on the canvas
    different = {name for name, tensor in first.items() if tensor.external_data} - set(shared)
    assert all("anchor" in name or "val_" in name for name in different), different


@pytest.mark.parametrize("session", ["onnxruntime-cpu", "openvino"])
def test_every_session_opens_its_graphs(bundle: Path, session: str) -> None:
    if session == "openvino":
        pytest.importorskip("openvino")
    for graph in read_bundle(bundle).graphs:
        found = run(bundle / graph.file, session)
        assert int(found["counts"][0]) > 0
        same({"counts": found["counts"]}, {"counts": run(bundle / graph.file)["counts"]})


def test_tensorrts_own_parser_reads_the_files(bundle: Path) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx")
    # the parser knows no local functions; inlined, the external data stays where it is
    light = onnx.load(bundle / "64x96.onnx", load_external_data=False)
    inlined = bundle / "inlined.onnx"
    onnx.save(portable_model(light, "light"), inlined)
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    read = parser.parse_from_file(str(inlined))
    inlined.unlink()
    assert read, parser.get_error(0).desc()
    assert network.num_layers > 100


def test_fp16_and_fastmask_bundles_are_verified_too(
    checkpoint: Path, fastmask: Exported, tmp_path: Path
) -> None:
    for report in bundled(checkpoint, tmp_path / "half", "fp16"):
        assert report.headroom is not None
        assert report.verification.asked > 0
    for report in bundled(fastmask.checkpoint, tmp_path / "fastmask"):
        assert report.verification.asked > 0
    assert read_bundle(tmp_path / "half").precision == "fp16"


def test_a_failed_export_leaves_the_bundle_that_was_there(bundle: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def fails(path: Path, hw: tuple[int, int], weights: SharedWeights) -> ExportReport:
        raise ExportError(f"{path}: no.")

    with pytest.raises(ExportError, match=rf"^{bundle}/64x96\.onnx: no"):
        export_bundle(bundle, CANVASES, fails)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="holds something"):
        export_bundle(tmp_path, CANVASES, fails)


def test_equal_bytes_are_stored_once_and_the_model_is_left_alone(tmp_path: Path) -> None:
    values = np.arange(2048, dtype=np.float32)
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2048] x) => (float[2048] y) { a = Add (x, first)
    b = Add (a, second)
    y = Add (b, small) }"""
    model = onnx.parser.parse_model(text)
    for name, array in (("first", values), ("second", values), ("small", values[:1])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    before = model.SerializeToString()
    weights = SharedWeights(tmp_path / WEIGHTS)
    for name in ("a.onnx", "b.onnx"):
        onnx.save(weights.without_weights(model), tmp_path / name)
    assert model.SerializeToString() == before
    assert (tmp_path / WEIGHTS).stat().st_size == values.nbytes
    for name in ("a.onnx", "b.onnx"):
        read = {t.name: t for t in onnx.load(tmp_path / name).graph.initializer}
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(read["second"]), values)
        assert read["small"].raw_data == values[:1].tobytes()
