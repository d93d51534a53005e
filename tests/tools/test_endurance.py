"""Long runs: what is measured, and that real sessions pass."""

import gc
import threading

import numpy as np
import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools import endurance
from maskrt.tools.endurance import differing_pictures, endure, endure_video

PICTURES = [np.full((100, 120, 3), value, np.uint8) for value in (10, 20, 30)]


def test_a_flat_run_is_flat(scripted, monkeypatch):
    monkeypatch.setattr(endurance, "_rss_bytes", lambda: 1000)
    run = endure(scripted(), PICTURES, 200)
    assert (run.growth, run.handle_growth, len(run.rss_bytes)) == (0.0, 0, 100)


def test_frames_of_a_video_are_watched_too(scripted, monkeypatch):
    monkeypatch.setattr(endurance, "_rss_bytes", lambda: 1000)
    run = endure_video(scripted(), PICTURES, 200)
    assert (run.growth, run.handle_growth, len(run.rss_bytes)) == (0.0, 0, 100)


def test_growth_after_the_warm_up_is_seen(scripted, monkeypatch):
    sizes = iter([*range(100, 1000, 90), *range(1000, 1090)])  # 10 % warm-up, then one each
    monkeypatch.setattr(endurance, "_rss_bytes", lambda: next(sizes))
    assert endure(scripted(), PICTURES, 100).growth == pytest.approx(1089 / 1044 - 1)


def test_a_leaked_file_is_seen(scripted, tmp_path):
    (tmp_path / "x").write_bytes(b"")
    kept = []
    predictor = scripted(on_run=lambda: kept.append((tmp_path / "x").open()))
    run = endure(predictor, PICTURES, 100)
    assert run.handle_growth > 10
    for file in kept:
        file.close()


def test_a_session_that_threads_disturb_is_seen(scripted):
    predictor = scripted()
    home = threading.current_thread()
    run = predictor.session.run

    def disturbed(images, sizes):
        outputs = run(images, sizes)
        outputs["scores"][:, 0] -= 0.1 * (threading.current_thread() is not home)
        return outputs

    assert differing_pictures(predictor, PICTURES, 4) == []
    predictor.session.run = disturbed
    assert differing_pictures(predictor, PICTURES, 4) == [0, 1, 2]


def test_too_few_pictures_are_refused(scripted):
    with pytest.raises(InputError, match=r"99 pictures .* at least 100"):
        endure(scripted(), PICTURES, 99)


def test_a_long_run_leaves_nothing_behind(chain, tmp_path, capsys):
    gc.collect()  # what other tests left is not to be collected in the run
    endurance.main([str(chain.onnx), "--pictures", "300", "--out", str(tmp_path / "run.json")])
    printed = capsys.readouterr().out.splitlines()
    assert "300 pictures" in printed[0]
    assert "+0 handles; 0 of 16 pictures differ between 1 and 8 threads" in printed[0]
    assert (tmp_path / "run.json").read_text() == printed[1] + "\n"
