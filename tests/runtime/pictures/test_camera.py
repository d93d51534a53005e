from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.runtime.pictures.camera import Camera, CameraReader, camera_from_text
from maskrt.runtime.pictures.video import BrokenVideoError

from .rtsp import rtsp_server, transport_stream


@pytest.mark.parametrize(
    ("text", "camera"),
    [
        ("0", Camera(0)),
        ("camera:12", Camera(12)),
        ("rtsp://h:554/a", Camera("rtsp://h:554/a")),
        (str(Path("rtsps://h/a")), Camera("rtsps://h/a")),
        ("a.jpg", None),
        ("camera:x", None),
        ("0.jpg", None),
        ("123456", None),
    ],
)
def test_a_camera_is_a_number_or_an_address(text: str, camera: Camera | None) -> None:
    assert camera_from_text(text) == camera


def test_frames_of_an_address_come_until_it_hangs_up(tmp_path: Path) -> None:
    with rtsp_server(transport_stream(tmp_path / "a.ts", 12)) as address:
        camera = Camera(address)
        with CameraReader(camera) as reader:
            frames = list(reader.frames())
    assert len(frames) in (11, 12)  # the last one needs a next one to be known as whole
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((64, 96, 3), "uint8")}
    assert frames[0].min() > 240
    assert "secret" not in camera.name + camera.stem
    assert camera.stem.startswith("rtsp-127.0.0.1-")


@pytest.mark.parametrize(
    ("camera", "sentence"),
    [
        (Camera(97), r"^camera:97: gives no frame; expected a camera of this machine"),
        (
            Camera("rtsp://me:pw@127.0.0.1:1/x"),
            r"^rtsp://127\.0\.0\.1:1/x: gives no frame; .* 10 s",
        ),
    ],
)
def test_a_camera_that_gives_nothing_is_named_without_its_password(
    camera: Camera, sentence: str
) -> None:
    with pytest.raises(BrokenVideoError, match=sentence):
        CameraReader(camera)
