"""Pictures nobody expects, as files, through the shipped networks of both families."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import maskrt
from maskrt.runtime.predictor import Predictor
from maskrt.workflows.prediction import predict_sources

CHECKPOINTS = Path(maskrt.__file__).parent / "train" / "checkpoints"
ORIENTATION_6 = bytes.fromhex(  # EXIF: one entry, the picture is to be turned a quarter right
    "ffe1002245786966000049492a0008000000010012010300010000000600000000000000"
)


@pytest.fixture(scope="module", params=["lsc_mask_rcnn_tiny", "fastmask_tiny"])
def predictor(request: pytest.FixtureRequest) -> Iterator[Predictor]:
    with maskrt.load(CHECKPOINTS / f"{request.param}.safetensors") as opened:
        yield opened


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1].tobytes())


def odd_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Write the pictures; their names and the sizes they are seen at."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    jpeg = encoded(".jpg", noise)
    files = {
        "pixel.png": (encoded(".png", noise[:1, :1]), (1, 1)),
        "strip.png": (
            encoded(".png", rng.integers(0, 256, (20, 5000, 3), dtype=np.uint8)),
            (20, 5000),
        ),
        "tower.png": (
            encoded(".png", rng.integers(0, 256, (5000, 20, 3), dtype=np.uint8)),
            (5000, 20),
        ),
        "grey.png": (encoded(".png", noise[:, :, 0]), (60, 90)),
        "turned.jpg": (jpeg[:2] + ORIENTATION_6 + jpeg[2:], (90, 60)),
        "black.png": (encoded(".png", np.zeros((48, 64, 3), np.uint8)), (48, 64)),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: size for name, (_, size) in files.items()}


def test_odd_pictures_go_through(predictor: Predictor, tmp_path: Path) -> None:
    sources = tmp_path / "in"
    sources.mkdir()
    sizes = odd_files(sources)
    written = predict_sources(predictor, [sources], tmp_path / "out", 0.5)
    assert written.pictures == len(sizes)
    for name, size_hw in sizes.items():
        overlay = cv2.imread(str(tmp_path / "out" / name))
        assert overlay is not None, name
        assert overlay.shape[:2] == size_hw, name


def test_results_of_odd_pictures_stay_inside_them(predictor: Predictor, tmp_path: Path) -> None:
    from maskrt.runtime.pictures.preprocess import read_image

    for name, size_hw in odd_files(tmp_path).items():
        (found,) = predictor.predict([read_image(tmp_path / name)])
        assert found.image_hw == size_hw
        assert (found.boxes >= 0).all()
        assert (found.boxes <= np.tile(size_hw[::-1], 2)).all()
        assert len(found.rles()) == len(found) == len(found.to_coco(1))
