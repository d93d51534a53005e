"""A cluster of two workers, one of which is killed, gives what one process gives."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

import pyarrow as pa

from maskrt.eval.coco.data import load_coco
from maskrt.runtime.errors import InputError, SessionError
from maskrt.workflows import Wanted, evaluate, plan_prediction, predict_files
from maskrt.workflows.sharding import on_ray
from maskrt.workflows.sharding.evaluation import EvaluateWorker

SECONDS_A_PICTURE = 0.3


@pytest.mark.filterwarnings("ignore")  # of Ray's own code
def test_a_killed_worker_costs_nothing(
    tiny: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "begun"

    class Slow(EvaluateWorker):
        """Says which picture it begins, and takes its time."""

        def __call__(self, places: pa.Table) -> pa.Table:
            with log.open("a") as file:
                file.write(f"{os.getpid()} {places['place'][0]}\n")
            time.sleep(SECONDS_A_PICTURE)
            return super().__call__(places)

    def begun() -> list[tuple[int, int]]:
        lines = log.read_text().splitlines()
        return [(int(pid), int(place)) for pid, place in map(str.split, lines)]

    killed: list[int] = []

    def kill_one(_share: float, _name: str) -> None:
        """In the middle of a picture, the last one that was begun."""
        if not killed:
            killed.append(begun()[-1][0])
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(on_ray, "PICTURES_AT_ONCE", 1)
    monkeypatch.setattr(on_ray, "EvaluateWorker", Slow)
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
