"""A cluster of two workers, one of which is killed, gives what one process gives."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

import pyarrow as pa

from maskrt.eval.coco.data import load_coco
from maskrt.workflows import evaluate
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
