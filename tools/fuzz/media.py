"""The readers of pictures and videos that are fuzzed, and of the JSON of an earlier bench."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .mutations import mutated_bytes, mutated_json
from .reader import Reader

SIZE_HW = (48, 64)
FRAMES = 5
PICTURE_SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".gif", ".bmp", ".avif")


def _write_picture(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import cv2
        import numpy as np

        height, width = SIZE_HW
        ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
        path = folder / f"a{suffix}"
        cv2.imwrite(str(path), np.stack((ramp, ramp * 3, 255 - ramp), axis=2))
        return path

    return write


def _read_picture(suffix: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from ...runtime.pictures.preprocess import read_image

        return read_image(folder / f"a{suffix}")

    return read


def _write_video(folder: Path) -> Path:
    import numpy as np

    from ...runtime.pictures.video import video_writer

    path = folder / "a.mp4"
    with video_writer(path, 25.0) as append:
        for number in range(FRAMES):
            append(np.full((*SIZE_HW, 3), 40 * number, np.uint8))
    return path


def _read_video(folder: Path) -> object:
    from ...runtime.pictures.video import VideoReader

    with VideoReader(folder / "a.mp4") as video:
        return sum(1 for _ in video.frames())


def _write_bench(folder: Path) -> Path:
    scopes = {scope: [[10.0, 10.5], [9.5, 11.0]] for scope in ("model", "pipeline")}
    row = {"name": "a.onnx", "sha256": "ab", "samples_ms": scopes}
    machine = {"cpu": "some", "cores": 2, "versions": {"maskrt": "0.1.0", "onnxruntime": "1.31.1"}}
    path = folder / "bench.json"
    path.write_text(json.dumps({"backends": [row], "environment": machine}))
    return path


def _read_bench(folder: Path) -> object:
    """As `--against` does: read, and compare its machine with this one."""
    from ...eval import environment, read_earlier
    from ...eval.timing.regression import environment_change

    earlier = read_earlier(folder / "bench.json")
    return environment_change(earlier.environment, environment())


READERS: dict[str, Reader] = {
    **{
        f"picture{suffix}": Reader(_write_picture(suffix), _read_picture(suffix), mutated_bytes)
        for suffix in PICTURE_SUFFIXES
    },
    "video": Reader(_write_video, _read_video, mutated_bytes),
    "bench": Reader(_write_bench, _read_bench, mutated_json),
}
