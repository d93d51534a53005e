from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.contract import Contract, Outputs
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.ort_session import OrtSession


@pytest.fixture
def predictor(write_onnx: Callable[[str | None], Path], tiny_contract: Contract) -> Predictor:
    path = write_onnx(tiny_contract.to_json())
    return Predictor(OrtSession(path, provider="cpu", threads=1))


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """One flat picture per size, each brighter than the one before."""
    return [np.full((*size, 3), 51 * (i + 1), np.uint8) for i, size in enumerate(sizes)]


def test_each_picture_gets_its_instances_in_its_own_pixels(predictor: Predictor) -> None:
    images = pictures((64, 96), (100, 40), (7, 500))
    found = predictor.predict(images)
    assert [one.image_hw for one in found] == [(64, 96), (100, 40), (7, 500)]
    for index, (one, image) in enumerate(zip(found, images, strict=True)):
        height, width = image.shape[:2]
        assert one.boxes[0].tolist() == [0, 0, width, height]
        assert one.boxes[1].tolist() == pytest.approx([width / 2, height / 2, width, height])
        assert one.scores[0] == pytest.approx(0.2 * (index + 1), abs=1e-6)
        # Ones fill the picture to its last row and column; zero padding rounds only the corners.
        assert one.masks[0].any(axis=0).all()
        assert one.masks[0].any(axis=1).all()


def test_batches_do_not_depend_on_their_neighbours(predictor: Predictor) -> None:
    images = pictures((64, 96), (100, 40), (30, 30))
    together = predictor.predict(images)
    alone = [predictor.predict([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)


def test_no_pictures_give_no_instances(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_the_phases_are_what_predict_does(predictor: Predictor) -> None:
    images = pictures((64, 96), (100, 40))
    canvases, sizes = predictor.preprocess(images)
    found = predictor.postprocess(predictor.run(canvases, sizes), images, sizes)
    for one, other in zip(found, predictor.predict(images), strict=True):
        assert np.array_equal(one.boxes, other.boxes)


class PastTheCount(OrtSession):
    """NaN where no slot is counted, as an FP16 overflow leaves it."""

    def run(self, images: Any, image_sizes: Any) -> Outputs:
        outputs = super().run(images, image_sizes)
        outputs["scores"][0, 2] = np.nan
        return outputs


def test_nan_past_the_count_is_no_missing_instance_but_an_error(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract
) -> None:
    session = PastTheCount(write_onnx(tiny_contract.to_json()), provider="cpu", threads=1)
    with Predictor(session) as predictor:
        with pytest.raises(SessionError, match=r"tiny: output 'scores' .* in slot 2 of picture 0"):
            predictor.predict(pictures((64, 96)))
        with pytest.raises(SessionError, match="slot 2 of picture 0"):
            list(predictor.stream(pictures((64, 96))))


@pytest.mark.parametrize("kind", ["array", "path", "text", "Pillow"])
def test_one_picture_of_any_kind_is_a_list_of_one(
    predictor: Predictor, tmp_path: Path, kind: str
) -> None:
    from PIL import Image

    (image,) = pictures((30, 50))
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    kinds = {"array": image, "path": path, "text": str(path), "Pillow": Image.fromarray(image)}
    (expected,) = predictor.predict([image])
    for given in (kinds[kind], [kinds[kind]]):
        (found,) = predictor.predict(given)
        assert found.image_hw == (30, 50)
        assert np.array_equal(found.scores, expected.scores)
    (found,) = predictor.stream([kinds[kind]])
    assert np.array_equal(found.scores, expected.scores)
    with pytest.raises(ContractError, match=r"stream: got one picture .* stream\(\[image\]\)"):
        predictor.stream(kinds[kind])  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16", "I", "F"])
def test_pillows_modes_become_rgb_or_are_refused(predictor: Predictor, mode: str) -> None:
    from PIL import Image

    image = Image.new("RGB", (50, 30), (255, 255, 255))
    image = Image.new(mode, (50, 30)) if mode == "I;16" else image.convert(mode)
    if mode[0] in "IF":
        with pytest.raises(ContractError, match=f"in mode '{mode}' found; expected 8 bits"):
            predictor.predict(image)
        return
    (found,) = predictor.predict(image)
    assert found.scores[0] == 1.0


def test_a_path_without_a_picture_is_the_callers_error(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"absent\.jpg: no such file"):
        predictor.predict(["absent.jpg"])


def test_leaving_the_context_closes_the_session(predictor: Predictor) -> None:
    with predictor as opened:
        assert opened is predictor
        assert opened.contract.variant == "tiny"
    with pytest.raises(SessionError, match="closed"):
        predictor.predict(pictures((8, 8)))


def test_importing_the_runtime_loads_numpy_alone() -> None:
    heavy = ["cv2", "onnxruntime", "pycocotools", "tensorrt", "tensorrt_rtx", "torch", "matplotlib"]
    code = f"import maskrt.runtime, sys; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed.strip() == "[]"


def test_every_public_name_exists() -> None:
    from maskrt import runtime

    assert sorted(runtime.__all__) == runtime.__all__
    assert all(hasattr(runtime, name) for name in runtime.__all__)
