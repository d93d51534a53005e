"""Two processes train one network: gloo on the CPU, started by torchrun as a user starts them."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import InputError
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.data.epochs import endless_batches
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.recipe import dump_recipe
from maskrt.train.run_state import new_run
from maskrt.train.step import LossModule, one_step
from maskrt.train.weights.checkpoint import load_checkpoint

CPU = torch.device("cpu")
MakeRecipe = Callable[..., MaskRCNNRecipe]


@dataclass(frozen=True)
class Ended:
    """What two ranks said, by rank and stream ("0stdout"), and how they ended."""

    code: int
    said: dict[str, str]


@pytest.fixture
def two_ranks(tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path) -> Callable[..., Ended]:
    """Trains the narrow network into `tmp_path / "run"`."""

    def run(*overrides: str, data: Path = shapes_folder) -> Ended:
        recipe, out = tmp_path / "narrow.yaml", tmp_path / "run"
        recipe.write_text(dump_recipe(tiny("solver.steps=2", *overrides)))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        ranks = ["--nproc-per-node", "2", "--log-dir", str(tmp_path / "logs"), "--redirects", "3"]
        train = ["train", str(recipe), "--data", str(data), "--out", str(out)]
        done = subprocess.run(
            [*torchrun, *ranks, "-m", "maskrt", *train, "--workers", "0"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        logs = tmp_path.glob("logs/*/*/*/std*.log")
        return Ended(done.returncode, {p.parent.name + p.stem: p.read_text() for p in logs})

    return run


def test_two_ranks_train_one_checkpoint(two_ranks: Callable[..., Ended], tmp_path: Path) -> None:
    ended, out = two_ranks("solver.ema_decay=0.5", "solver.eval_every=1"), tmp_path / "run"
    assert ended.code == 0, ended  # 0 when both ranks' is
    names = sorted(path.stem for path in out.glob("*.safetensors"))
    assert names == ["model", "resume"]
    checkpoint = load_checkpoint(out / "model.safetensors")
    assert checkpoint.steps == 2
    assert "mask_ap" in checkpoint.measured
    assert len((out / "log.csv").read_text().splitlines()) == 2  # the head and step 1, once
    rows = (out / "evaluations.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["step", "1", "2"]
    assert "mask" in ended.said["0stdout"]
    assert not ended.said["1stdout"]  # the first rank alone measures and reports


def test_logged_losses_are_those_of_the_whole_batch(
    two_ranks: Callable[..., Ended], tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    assert two_ranks().code == 0
    with (tmp_path / "run" / "log.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    recipe, dataset = tiny("solver.steps=2"), CocoInstances(shapes_folder, "train")
    halves = []
    for rank in (0, 1):
        run = new_run(recipe, CPU)
        batch = next(endless_batches(dataset, recipe, 0, 0, (rank, 2)))
        halves.append(one_step(run, LossModule(run.model), batch, recipe.solver, rank))
    first, second = halves
    for name in ("rpn_objectness", "rpn_box"):  # others count what is sampled over both
        assert float(row[name]) == pytest.approx((first[name] + second[name]) / 2, rel=1e-6)
        assert first[name] != pytest.approx(second[name], rel=1e-5)


def test_pictures_without_objects_train_on_two_ranks(
    two_ranks: Callable[..., Ended], shapes_folder: Path, tmp_path: Path
) -> None:
    """One picture in twelve has objects: in each step one rank sees none, in most both."""
    data = shutil.copytree(shapes_folder, tmp_path / "data")
    file = data / "annotations" / "instances_train.json"
    raw = json.loads(file.read_text())
    only = raw["annotations"][0]["image_id"]
    raw["annotations"] = [one for one in raw["annotations"] if one["image_id"] == only]
    file.write_text(json.dumps(raw))
    ended = two_ranks("solver.steps=6", "solver.batch=2", data=data)
    assert ended.code == 0, ended
    with (tmp_path / "run" / "log.csv").open(newline="") as stream:
        rows = [*csv.DictReader(stream)]
    assert rows
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_a_batch_that_two_ranks_cannot_share_is_refused(
    two_ranks: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = two_ranks("solver.batch=3")
    assert ended.code != 0
    sentence = "solver.batch=3: found 2 processes to share it; expected a multiple of 2. Set "
    assert sentence + "solver.batch=2." in "".join(ended.said.values())
    assert "Traceback" not in "".join(ended.said.values())
    assert not (tmp_path / "run").exists()


def test_fewer_pictures_than_the_ranks_batches_are_told(
    tiny: MakeRecipe, shapes_folder: Path
) -> None:
    batches = endless_batches(
        CocoInstances(shapes_folder, "train"), tiny("solver.batch=24"), 0, 0, (0, 2)
    )
    with pytest.raises(
        InputError, match=r"found 12 pictures; expected 24, a batch of 12 for each of 2 processes"
    ):
        next(batches)
