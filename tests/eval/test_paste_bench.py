from __future__ import annotations

import json

import numpy as np
import pytest

from maskrt.eval.paste_bench import compare, main, sample_instances, whole_picture_values


def test_both_ways_give_equal_pixels() -> None:
    timing = compare(sample_instances(20, (120, 200)), rounds=1)
    assert timing.pixels_different == 0
    assert timing.pixels_near_threshold <= 2  # float32 rounding; 480,000 pixels in all
    assert timing.ratio > 1


def test_a_wrong_paste_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    instances = sample_instances(3, (60, 80))
    wrong = sample_instances(3, (60, 80), seed=1).rles()
    monkeypatch.setattr("maskrt.eval.paste_bench.Instances.rles", lambda _: wrong)
    assert compare(instances, rounds=1).pixels_different > 100


def test_values_inside_a_flat_mask_are_its_value() -> None:
    box = np.array([10, 10, 30, 20], np.float32)
    values = whole_picture_values(np.full((28, 28), 0.7, np.float32), box, (40, 50))
    assert values[12, 12] == pytest.approx(0.7, abs=1e-6)
    assert values[5, 5] == 0
    assert values.shape == (40, 50)


def test_the_command_ends_in_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instances", "4", "--picture", "60x80", "--rounds", "1"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["picture_hw"] == [60, 80]
    assert last["pixels_different"] == 0


@pytest.mark.parametrize("arguments", [["--instances", "0"], ["--picture", "60"]])
def test_bad_options_leave_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
