"""What of a run is drawn and kept, by options; the two instances of a picture are disc and star."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.preprocess import read_image
from maskrt.runtime.pictures.video import VideoReader
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.workflows.prediction import predict_files, predict_sources

from ..conftest import Ran
from ..runtime.pictures.rtsp import rtsp_server, transport_stream


@pytest.fixture
def model(write_onnx: Callable[[str | None], Path], tiny_contract: Contract) -> Path:
    return write_onnx(tiny_contract.to_json())


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return Predictor(OrtSession(model, provider="cpu", threads=1))


@pytest.fixture
def dim(tmp_path: Path) -> Path:
    """Its instances score 0.4."""
    path = tmp_path / "dim.png"
    assert cv2.imwrite(str(path), np.full((64, 96, 3), 102, np.uint8))
    return path


def results(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "results.json").read_text())
    return read


def test_a_class_may_have_a_score_of_its_own(
    predictor: Predictor, dim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = predict_sources(predictor, [dim], out, 0.5, by_class={"star": 0.3})
    assert written.instances == 1
    assert len(results(out)["annotations"]) == 2
    image = read_image(dim)
    expected = predictor.predict([image])[0].filter(classes=["star"]).draw(image, 0.0)
    assert np.array_equal(read_image(out / "dim.png"), expected)


def test_classes_hold_for_overlays_and_results(
    predictor: Predictor, dim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict_sources(predictor, [dim], out, 0.1, classes=["disc"]).instances == 1
    names = {one["id"]: one["name"] for one in results(out)["categories"]}
    assert [names[row["category_id"]] for row in results(out)["annotations"]] == ["disc"]
    for wrong in ({"classes": ["cup"]}, {"by_class": {"cup": 0.5}}):
        with pytest.raises(InputError, match=r"class 'cup': not among .* disc, star"):
            predict_sources(predictor, [dim], tmp_path / "none", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


def test_two_models_are_drawn_beside_each_other(
    model: Path, predictor: Predictor, dim: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_files(model, [dim], out, 0.1, compare=f"{model}@onnxruntime-cpu")
    both, image = read_image(out / "dim.png"), read_image(dim)
    drawn = predictor.predict([image])[0].draw(image, 0.1)
    strip = both.shape[0] - 64
    assert both.shape == (64 + strip, 2 * 96, 3)
    assert np.array_equal(both[strip:], np.concatenate((drawn, drawn), axis=1))
    assert both[:strip, :96].max() > 200 < both[:strip, 96:].max()  # their names
    assert len(results(out)["images"]) == 1


def test_the_first_frames_of_a_camera_behind_an_address(
    predictor: Predictor, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with rtsp_server(transport_stream(tmp_path / "a.ts", 12)) as address:
        written = predict_sources(predictor, [address], out, frames=4)
    assert (written.pictures, written.instances, written.broken) == (4, 8, ())
    assert "secret" not in (out / "results.json").read_text()
    (overlay,) = out.glob("rtsp-127.0.0.1-*-door.mp4")
    with VideoReader(overlay) as reader:
        assert len(list(reader.frames())) == 4
    with pytest.raises(InputError, match="frames"):
        predict_sources(predictor, [address], out, frames=0)


def test_ctrl_c_ends_a_camera_and_keeps_what_there_is(predictor: Predictor, tmp_path: Path) -> None:
    told: list[str] = []

    def tell(_: float, name: str) -> None:
        told.append(name)
        if len(told) == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with rtsp_server(transport_stream(tmp_path / "a.ts", 40)) as address:
        written = predict_sources(predictor, [address], tmp_path / "out", on_progress=tell)
    assert written.pictures == 3
    assert [one["frame"] for one in results(tmp_path / "out")["images"]] == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_line_takes_scores_classes_and_a_pattern(
    maskrt: Callable[..., Ran], model: Path, dim: Path, tmp_path: Path
) -> None:
    out, pattern = tmp_path / "out", str(dim.parent / "d*.png")
    base = ("predict", model, pattern, "--out", out, "--json")
    assert maskrt(*base).json["instances"] == 0
    assert maskrt(*base, "--score", "star=0.3,0.6").json["instances"] == 1
    assert maskrt(*base, "--score", "0.3", "--score", "disc=0.9").json["instances"] == 1
    assert maskrt(*base, "--score", "0.3", "--classes", "disc, star").json["instances"] == 2
    ran = maskrt(*base, "--score", "star=high")
    assert (ran.code, "'star=high' is no score like 0.5 or cup=0.3" in ran.err) == (2, True)
    ran = maskrt(*base, "--classes", "cup")
    assert (ran.code, "class 'cup': not among" in ran.err) == (2, True)
