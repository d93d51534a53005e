"""`maskrt search` of a small network: what it certifies, goes on with, and exports."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from maskrt.cli.main import main
from maskrt.eval import load_coco
from maskrt.export.search.precision_file import read_precision_file
from maskrt.runtime.contract import METADATA_KEY
from maskrt.runtime.sessions.open import ModelRef
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.workflows.measure import measured, measured_hop
from maskrt.workflows.search.written import labelled_sha256

Run = Callable[..., Any]

NETWORK = "lsc_mask_rcnn_nano"
PICTURES = 10
GATE = 100
"""Points: what ten pictures say of AP is no matter here."""


@dataclasses.dataclass(frozen=True)
class Case:
    """The FP32 export of a small shipped network, and pictures for it."""

    model: Path
    data: Path
    others: Path

    def words(self, out: Path, *more: object) -> list[str]:
        words = ("search", self.model, "--data", self.data, "-o", out, "--gate", GATE, "--json")
        return [str(word) for word in (*words, "--calibration-images", 4, *more)]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("search")
    kinds = ("circle", "square", "star")
    for name, train, seed in (("shapes", 4, 5), ("others", 1, 6)):
        draw_shapes(folder / name, train, PICTURES, seed, sizes_hw=((192, 256),), kinds=kinds)
    assert main(["export", NETWORK, "-o", str(folder / "fp32.onnx")]) == 0
    return Case(folder / "fp32.onnx", folder / "shapes", folder / "others")


@pytest.fixture(scope="module")
def done(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One search with its page, verified on other pictures."""
    folder = tmp_path_factory.mktemp("done")
    out, page = folder / "p.json", folder / "page.html"
    assert main(case.words(out, "--verify", case.others, "--html", page)) == 0
    return out


def test_a_certificate_says_what_was_measured_on_what(done: Path) -> None:
    content = read_precision_file(done)
    certificate = content.certificate
    assert certificate is not None
    searched, verified = certificate.sets
    assert (searched.data, searched.split, searched.count) == ("shapes", "val", PICTURES)
    assert (verified.data, verified.count) == ("others", PICTURES)
    assert searched.sha256 != verified.sha256
    low, high = searched.intervals["box AP"]
    unseen_low, unseen_high = searched.unseen["box AP"]
    assert unseen_low <= low <= searched.figures["box AP"] <= high <= unseen_high
    assert unseen_high - unseen_low == pytest.approx(2**0.5 * (high - low))
    assert certificate.calibration is not None
    assert certificate.calibration.pictures == 4
    assert certificate.evaluations == len(certificate.tried)
    assert sum(certificate.mac_shares.values()) == pytest.approx(1)


def test_times_of_a_certificate_are_floors_that_say_so(done: Path) -> None:
    content = read_precision_file(done)
    certificate = content.certificate
    assert certificate is not None
    assert set(certificate.group_ms) == set(content.groups)
    assert certificate.total_ms["found"] <= certificate.total_ms["all fp16"]
    assert certificate.gpu is not None
    assert certificate.gpu["name"] in certificate.times
    assert "not measured" in certificate.times


def test_the_page_shows_what_was_tried_and_the_file_names_no_folder(done: Path) -> None:
    assert "<svg" in done.with_name("page.html").read_text()
    assert str(done.parent.parent) not in done.read_text()


def test_a_second_run_takes_every_verdict_from_the_journal_and_writes_the_same_bytes(
    maskrt: Run, case: Case, done: Path
) -> None:
    before = done.read_bytes()
    ran = maskrt(*case.words(done, "--verify", case.others))
    assert ran.code == 0, ran.err
    assert ran.json["known"] == ran.json["evaluations"] + 1, "and that of the other pictures"
    assert done.read_bytes() == before


def test_an_export_takes_the_mixture_without_pictures(
    maskrt: Run, done: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.onnx"
    ran = maskrt("export", NETWORK, "-o", mixed, "--mixture", done)
    assert ran.code == 0, ran.err
    model = onnx.load(mixed)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata[METADATA_KEY])["precision"] == "int8"
    assert "int8" in read_precision_file(done).groups.values()
    assert any(node.op_type == "DequantizeLinear" for node in model.graph.node)


@pytest.mark.parametrize(
    ("session", "precisions"), [("openvino", "fp32,fp16"), ("onnxruntime-int8", "fp32,int8")]
)
def test_a_session_is_certified_by_what_it_does_with_the_exported_file(
    maskrt: Run, case: Case, tmp_path: Path, session: str, precisions: str
) -> None:
    out, mixed = tmp_path / "p.json", tmp_path / "mixed.onnx"
    gpu = () if precisions == "fp32,fp16" else ("--gpu", "l4")
    words = ("--session", session, "--precisions", precisions, *gpu)
    ran = maskrt(*case.words(out, *words))
    assert ran.code == 0, ran.err
    certificate = read_precision_file(out).certificate
    assert certificate is not None
    assert (certificate.session, len(certificate.kept)) == (session, 0)
    assert maskrt("export", NETWORK, "-o", mixed, "--mixture", out).code == 0
    data = load_coco(case.data)
    reference = measured(ModelRef(case.model), data)
    hop = measured_hop(reference, measured(ModelRef(mixed, session), data), mixed)
    figures = certificate.sets[0].figures
    assert {name: figures[name] for name in hop.parity.changes} == hop.parity.changes


def test_pictures_of_a_certificate_are_told_apart_by_their_labels(case: Case) -> None:
    data = load_coco(case.data)
    assert labelled_sha256(data) == labelled_sha256(load_coco(case.data))
    assert labelled_sha256(data) != labelled_sha256(data.first(3))
    assert labelled_sha256(data) != labelled_sha256(load_coco(case.others))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gpu", "gtx1"), "GPU 'gtx1': not known; expected"),
        (("--precisions", "fp16"), "expected two or more of fp32, fp16, int8, fp8"),
        (("--precisions", "fp32,int4"), "expected two or more of fp32, fp16, int8, fp8"),
        (("--html", "p.html"), "its values go to p.json beside it"),
        (("--profile", "absent.json"), "no such file; expected a layer profile"),
        (("--calibration-images", "0"), "--calibration-images 0: expected at least 1"),
        (("--session", "tensorrt"), "unknown session 'tensorrt'"),
        (("--session", "openvino"), "--gpu: none named; expected one"),
    ],
)
def test_bad_usage_is_refused_before_anything_runs(
    maskrt: Run,
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = maskrt(*case.words(Path("p.json"), "--first", "2", *options))
    assert ran.code == 2
    assert words in ran.err
    assert list(tmp_path.iterdir()) == []
