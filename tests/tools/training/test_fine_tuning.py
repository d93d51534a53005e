"""The fine-tuning record: made of runs that are not run twice."""

import json
from pathlib import Path

import pytest

from maskrt.tools.training import fine_tuning


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_three_starts_make_a_record_and_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "record.json")]
    few = ["--pictures", "4", "--val-pictures", "2", "--steps", "1", "--seeds", "1"]
    assert fine_tuning.main([*words, *few, "--workers", "0"]) == 0
    text = (tmp_path / "record.json").read_text()
    record = json.loads(text)
    assert [run["start"] for run in record["runs"]] == list(fine_tuning.STARTS)
    assert record["runs"][0]["mask_ap"] == record["mean_mask_ap"]["all that fits"]
    monkeypatch.setattr(fine_tuning, "train_recipe", None)
    assert fine_tuning.main([*words, *few]) == 0
    assert json.loads((tmp_path / "record.json").read_text())["runs"] == record["runs"]
