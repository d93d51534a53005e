"""Training ended from outside at any moment: what is left is whole and goes on from there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.recipe import dump_recipe, load_recipe
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.tensors import load_metadata
from maskrt.workflows import train_recipe

MakeRecipe = Callable[..., MaskRCNNRecipe]

STEPS = 40
START_S = 60
"""At most, until the first state is saved."""


class Trainer:
    """`maskrt train` in processes of its own."""

    def __init__(self, recipe: Path, data: Path, out: Path) -> None:
        self.out, self.processes = out, list[subprocess.Popen[str]]()
        train = ["train", str(recipe), "--data", str(data), "--out", str(out), "--workers", "1"]
        self._command = [sys.executable, "-m", "maskrt", *train]

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [*self._command, *words],
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=environment,
            start_new_session=True,  # a group that can be signalled whole
        )
        self.processes.append(process)
        return process

    def started(self, *words: str) -> subprocess.Popen[str]:
        """One that has saved a state of its own."""
        state = self.out / "resume.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = self.start(*words)
        end = time.monotonic() + START_S
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        return process


@pytest.fixture
def trainer(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> Iterator[Callable[..., Trainer]]:
    """Of a narrow network, a state saved at every step, into a folder of the name given."""
    made: list[Trainer] = []

    def make(name: str, *overrides: str) -> Trainer:
        recipe = tmp_path / "narrow.yaml"
        often = (f"solver.steps={STEPS}", "solver.checkpoint_every=1", "solver.ema_decay=0.5")
        recipe.write_text(dump_recipe(tiny(*often, *overrides)))
        made.append(Trainer(recipe, shapes_folder, tmp_path / name))
        return made[-1]

    yield make
    for process in (process for trainer in made for process in trainer.processes):
        process.kill()
        process.communicate()


def children(process: subprocess.Popen[str]) -> list[int]:
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in task.read_text().split()]


def gone(pids: list[int], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def check_whole(out: Path) -> None:
    """Whatever carries a final name opens."""
    if (out / "model.safetensors").exists():
        load_checkpoint(out / "model.safetensors")
    if (out / "resume.safetensors").exists():
        assert load_metadata(out / "resume.safetensors")["format"] == "3"
    if (out / "model.yaml").exists():
        load_recipe(out / "model.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(
    trainer: Callable[..., Trainer], precision: str
) -> None:
    moments, kills = random.Random(12), int(os.environ.get("MASKRT_KILLS", "3"))
    override = f"solver.precision={precision}"
    whole, killed = trainer("whole", override), trainer("killed", override)
    for number in range(kills):
        process = killed.started(*(["--resume"] if number else []))
        time.sleep(moments.uniform(0, 0.3))
        workers = children(process)
        process.kill()
        process.wait()
        assert gone(workers, 15)
        check_whole(killed.out)
    for process in (killed.start("--resume"), whole.start()):
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    for name in ("model.safetensors", "resume.safetensors", "model.yaml", "log.csv"):
        assert (killed.out / name).read_bytes() == (whole.out / name).read_bytes(), name
    assert sorted(p.name for p in killed.out.iterdir() if "events" not in p.name) == [
        *("log.csv", "model.safetensors", "model.yaml", "report.html", "report.json", "report.md"),
        *("resume.safetensors", "samples.html"),
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_training_that_is_told_to_stop_says_how_to_go_on(
    trainer: Callable[..., Trainer], number: signal.Signals, code: int
) -> None:
    training = trainer("stopped", "solver.steps=100000")
    process = training.started()
    second = training.start()  # meanwhile
    said = second.communicate(timeout=60)[1]
    assert second.returncode == 2, said
    assert f"process {process.pid} trains in it" in said
    assert process.poll() is None, process.communicate()
    while not (workers := children(process)):  # there is a moment without before the first epoch
        assert process.poll() is None, process.communicate()
    os.killpg(process.pid, number)  # as a terminal does, workers too
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        f"maskrt train: stopped; {training.out / 'resume.safetensors'} is whole. "
        "Go on from it with the same words and --resume."
    )
    assert gone(workers, 5)
    assert not list(training.out.glob(".*.tmp"))
    check_whole(training.out)


def test_a_stop_while_the_result_is_measured_says_that_it_is_whole(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("maskrt.train.watch.validation.predict_data", stopped)
    (tmp_path / "narrow.yaml").write_text(dump_recipe(tiny("solver.steps=1")))
    with pytest.raises(KeyboardInterrupt) as caught:
        train_recipe(tmp_path / "narrow.yaml", shapes_folder, tmp_path / "run", workers=0)
    weights = tmp_path / "run" / "model.safetensors"
    assert str(caught.value) == (
        f"stopped while the result was measured; {weights} is whole. Measure it with: maskrt eval "
        f"{weights} --data {shapes_folder}"
    )
    assert load_checkpoint(weights).steps == 1
