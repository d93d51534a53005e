"""Where a step's time goes: parts are not counted twice, and two codes answer in turns."""

import json
import time
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools.training import step_time
from maskrt.tools.training.step_parts import PARTS, Clock


def test_a_part_inside_another_is_booked_once() -> None:
    clock = Clock()
    inner = clock.timed("body", lambda: time.sleep(0.02))
    clock.taken()
    with clock.part("losses"):
        inner()
        time.sleep(0.01)
    ms = clock.taken()
    assert ms["total"] == pytest.approx(ms["losses"] + ms["body"] + ms["rest"])
    assert ms["body"] >= 20
    assert 10 <= ms["losses"] < ms["total"] - 20
    assert "losses" not in clock.taken()


def test_shares_are_of_the_whole_time_and_the_ratio_is_of_medians() -> None:
    before = [{"total": 100.0, "body": 60.0, "rest": 40.0}, {"total": 300.0, "body": 300.0}]
    found = step_time.summary({"before": before, "now": [{"total": 50.0, "body": 50.0}]})
    assert (found["before"]["step_ms"], found["faster"]) == (200.0, 4.0)
    assert found["before"]["shares"]["body"] == pytest.approx(0.9)
    assert found["before"]["shares"]["rest"] == pytest.approx(0.1)
    assert found["now"]["shares"]["backward"] == 0


def test_a_commit_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--before no-such-commit: .*Name a commit\."):
        step_time.code_of("no-such-commit", tmp_path / "code")


@pytest.mark.slow
def test_two_codes_take_steps_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "PICTURES", 8)
    out = tmp_path / "record.json"
    words = ["--before", "HEAD", "--turns", "1", "--steps", "1", "--recipes", "lsc_mask_rcnn_tiny"]
    assert step_time.main([*words, "--out", str(out)]) == 0
    found = json.loads(out.read_text())["recipes"]["lsc_mask_rcnn_tiny"]
    for code in ("before", "now"):
        (turn,) = found["ms"][code]
        assert set(turn) == {"total", "rest", *PARTS}
        assert turn["total"] == pytest.approx(sum(v for k, v in turn.items() if k != "total"))
        assert all(rate > 0 for rate in found["pictures_per_s"][code].values())
