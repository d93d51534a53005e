"""A cluster of two workers, one of which is killed, gives what one process gives."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

import pyarrow as pa

from maskrt.eval.coco.data import load_coco
from maskrt.runtime.errors import InputError, SessionError
from maskrt.workflows import Wanted, evaluate, plan_prediction, predict_files
from maskrt.workflows.sharding import on_ray
from maskrt.workflows.sharding.evaluation import EvaluateWorker

FREE = 4
"""Pictures that are done before anybody is killed."""
PATIENCE_S = 60


@pytest.mark.filterwarnings("ignore")  # of Ray's own code
def test_a_killed_worker_costs_nothing(
    tiny: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, done = tmp_path / "begun", tmp_path / "killed"

    def until(true: Callable[[], bool]) -> None:
        for _ in range(PATIENCE_S * 20):
            if true():
                return
            time.sleep(0.05)
        raise TimeoutError

    class Waiting(EvaluateWorker):
        """Says which picture it begins; with the later ones it waits for the murder."""

        def __call__(self, places: pa.Table) -> pa.Table:
            (place,) = places["place"].to_pylist()
            with log.open("a") as file:
                file.write(f"{os.getpid()} {place}\n")
            if place >= FREE:
                until(done.exists)
            return super().__call__(places)

    def begun() -> list[tuple[int, int]]:
        lines = log.read_text().splitlines()
        return [(int(pid), int(place)) for pid, place in map(str.split, lines)]

    killed: list[int] = []

    def kill_one(_share: float, _name: str) -> None:
        """In the middle of a picture."""
        if not killed:
            until(lambda: any(place >= FREE for _, place in begun()))
            killed.extend(pid for pid, place in begun() if place >= FREE)
            os.kill(killed[0], signal.SIGKILL)
            done.touch()

    monkeypatch.setattr(on_ray, "PICTURES_AT_ONCE", 1)
    monkeypatch.setattr(on_ray, "EvaluateWorker", Waiting)
    data = load_coco(labelled)
    options = on_ray.RayOptions("local", workers=2, cpus=0.5)
    found = on_ray.evaluate_on_ray(tiny, data, tmp_path / "out", options, kill_one)
    lost = [place for pid, place in begun() if pid == killed[0]]
    others = [place for pid, place in begun() if pid != killed[0]]
    assert lost[-1] in others  # begun again by another
    once = evaluate(tiny, data)
    assert found == once
    before = log.read_text()
    assert on_ray.evaluate_on_ray(tiny, data, tmp_path / "out", options) == once
    assert log.read_text() == before


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_predicts_what_one_process_does(
    tiny: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "PICTURES_AT_ONCE", 3)
    plan = plan_prediction(tiny, [labelled / "val"], tmp_path / "many", Wanted(0.6))
    written = on_ray.predict_on_ray(plan, on_ray.RayOptions("local", workers=2, cpus=0.5))
    once = predict_files(tiny, [labelled / "val"], tmp_path / "one", 0.6)
    assert written == dataclasses.replace(once, results=written.results)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_no_cluster_and_a_worker_that_cannot_open_get_a_sentence(
    tiny: Path, labelled: Path, tmp_path: Path
) -> None:
    plan = plan_prediction(tiny, [labelled / "val"], tmp_path / "out", Wanted(classes=["cup"]))
    with pytest.raises(SessionError, match=r"no cluster \(.*Start one with ray start"):
        on_ray.predict_on_ray(plan, on_ray.RayOptions("127.0.0.1:9"))
    with pytest.raises(SessionError, match=r"a worker failed \(.*cup.*Try them without --ray"):
        on_ray.predict_on_ray(plan, on_ray.RayOptions("local", cpus=0.5))
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(InputError, match="expected 1 worker or more"):
        on_ray.RayOptions("local", workers=0)
