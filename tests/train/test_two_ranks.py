"""Two processes train one network: gloo on the CPU, started by torchrun as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.recipe import dump_recipe
from maskrt.train.weights.checkpoint import load_checkpoint

MakeRecipe = Callable[..., MaskRCNNRecipe]


def test_two_ranks_train_one_checkpoint(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "narrow.yaml", tmp_path / "run"
    recipe.write_text(dump_recipe(tiny("solver.steps=2", "solver.ema_decay=0.5")))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ranks = ["--nproc-per-node", "2", "--log-dir", str(tmp_path / "logs"), "--redirects", "3"]
    train = ["-m", "maskrt", "train", str(recipe), "--data", str(shapes_folder), "--out", str(out)]
    done = subprocess.run(
        [*torchrun, *ranks, *train, "--workers", "0"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = {p.parent.name + p.stem: p.read_text() for p in tmp_path.glob("logs/*/*/*/std*.log")}
    assert done.returncode == 0, (done.stderr, said)  # 0 when both ranks' is
    names = sorted(path.stem for path in out.glob("*.safetensors"))
    assert names == ["model", "resume"]
    checkpoint = load_checkpoint(out / "model.safetensors")
    assert checkpoint.steps == 2
    assert "mask_ap" in checkpoint.measured
    assert len((out / "log.csv").read_text().splitlines()) == 2  # the head and step 1, once
    assert "mask" in said["0stdout"]
    assert not said["1stdout"]  # the first rank alone measures and reports
