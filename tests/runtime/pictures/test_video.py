"""Overlay videos: any frame rate and any size that a reader may bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrt.runtime.pictures.video import VideoReader, video_writer


@pytest.mark.parametrize(
    ("fps", "kept"),
    [
        (23.976, 23.976),
        (30000 / 1001, 29.97),
        (66.667, 66.67),
        (211.222, 211.22),
        (239.683, 239.68),
        (1000.55, 1000.5),
        (9000.3, 9000),
        (1e6, 65535),
        (1e-4, 0.002),
    ],
)
def test_a_frame_rate_is_kept_as_near_as_mpeg_4_can(
    fps: float, kept: float, tmp_path: Path
) -> None:
    with video_writer(tmp_path / "clip.mp4", fps) as append:
        for _ in range(3):
            append(np.zeros((32, 48, 3), np.uint8))
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert reader.fps == pytest.approx(kept, abs=1e-3)
        assert len(list(reader.frames())) == 3


def test_an_odd_side_grows_by_a_copy_of_its_last_row_or_column(tmp_path: Path) -> None:
    frame = np.zeros((31, 47, 3), np.uint8)
    frame[16:, 24:] = 255
    with video_writer(tmp_path / "clip.mp4", 10) as append:
        append(frame)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        (found,) = reader.frames()
    assert found.shape == (32, 48, 3)
    assert found[31, 40:].min() > 200
    assert found[20:, 47].min() > 200
    assert found[:8].max() < 50


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    final = tmp_path / ("x" * 250 + ".mp4")
    with video_writer(final, 10) as append:
        append(np.zeros((32, 48, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
