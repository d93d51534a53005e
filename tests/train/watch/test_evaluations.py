"""The best of a run's evaluations, what was no gain, and both after a run goes on."""

from pathlib import Path

import pytest

from maskrt.runtime.errors import TrainError
from maskrt.train.watch.evaluations import Evaluations


def added(folder: Path, *scores: float) -> Evaluations:
    evaluations = Evaluations(folder, 0)
    best = [
        evaluations.add(10 * n, {"box_ap": 50.0, "mask_ap": s}) for n, s in enumerate(scores, 1)
    ]
    highest = [max((0.0, *scores[:n])) for n in range(len(scores))]
    assert best == [s > h for s, h in zip(scores, highest, strict=True)]
    return evaluations


def test_masks_decide_which_is_best(tmp_path: Path) -> None:
    evaluations = added(tmp_path, 0.0, 1.25, 4.5, 4.5, 3.0)
    assert (evaluations.best, evaluations.without_gain) == (30, 2)
    assert (tmp_path / "evaluations.csv").read_text().splitlines()[:3] == [
        "step,box_ap,mask_ap",
        "10,50.0,0.0",
        "20,50.0,1.25",
    ]


def test_a_run_that_has_found_nothing_yet_loses_no_patience(tmp_path: Path) -> None:
    evaluations = added(tmp_path, 0.0, 0.0, 0.0)
    assert (evaluations.best, evaluations.without_gain) == (None, 0)


def test_a_run_that_goes_on_knows_what_it_had(tmp_path: Path) -> None:
    added(tmp_path, 5.0, 4.0, 7.0)
    again = Evaluations(tmp_path, 25)
    assert (again.best, again.without_gain) == (10, 1)
    assert not again.add(30, {"box_ap": 1.0, "mask_ap": 5.0})
    assert Evaluations(tmp_path, 30).rows == again.rows


@pytest.mark.parametrize(
    "text",
    ["step,mask_ap\nx,1\n", "step,mask_ap\n1,nan\n", "step,loss\n1,2\n", "a\n1\n", "step\n1,2\n"],
)
def test_something_else_of_that_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluations.csv").write_text(text)
    with pytest.raises(TrainError, match=r"evaluations\.csv: unreadable .*Remove the file"):
        Evaluations(tmp_path, 1)
