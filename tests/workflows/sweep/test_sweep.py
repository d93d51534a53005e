"""A whole sweep of narrow networks: its runs are processes, kept, gone on with and tabulated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrt.runtime.errors import InputError, TrainError
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.workflows import run_sweep

from ...conftest import Ran

NARROW = (
    *("input.long_side_px=96", "input.train_long_side_px=[88, 96]", "input.canvas_hw=[96, 96]"),
    *("model.stem_channels=8", "model.body_channels=16", "model.blocks=[1, 1, 1]"),
    *("model.train_strides=[16.0, 24.0, 32.0]", "model.test_strides=[16.0, 24.0, 32.0]"),
    *("model.reduced_channels=8", "model.score_channels=16", "model.score_hidden=16"),
    *("model.mask_rank=16", "model.mask_cells=10", "windows.per_image=12"),
    *("solver.batch=2", "solver.warmup_steps=0", "solver.precision=fp32"),
    "solver.checkpoint_every=1",
)


def write_sweep(path: Path, *overrides: str) -> Path:
    """Two rows, the second of which is the first one's checkpoint with one stream."""
    row = {"recipe": "fastmask_nano", "overrides": [*NARROW, *overrides]}
    one = ["model.streams=1", "model.train_strides=[16.0, 32.0]", "model.test_strides=[16.0, 32.0]"]
    raw: dict[str, Any] = {
        "seeds": [3],
        "rows": {
            "two": {"label": "two streams", **row},
            "one": {"label": "one", **row, "overrides": [*row["overrides"], *one], "of": "two"},
        },
        "tables": {
            "t": {
                "title": "Of streams",
                "metrics": ["mask_ar_100"],
                "rows": {"two": [31.3], "one": [26.6]},
            }
        },
    }
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "data"
    return draw_shapes(folder, 4, 2, 5, sizes_hw=((96, 96),), progress=False)


def test_an_interrupted_sweep_goes_on_and_keeps_what_is_finished(
    data: Path, tmp_path: Path
) -> None:
    sweep, out = write_sweep(tmp_path / "s.yaml", "solver.steps=100000"), tmp_path / "out"
    words = ["train", "--sweep", str(sweep), "--data", str(data), "--out", str(out)]
    parent = subprocess.Popen(
        [sys.executable, "-m", "maskrt", *words, "--workers", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    run, end = out / "two-3", time.monotonic() + 120
    while not (run / "resume.safetensors").exists():
        assert parent.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert "0 of 2 runs are finished. Go on with the same words." in said
    assert not (run / "train.lock").exists()  # its process has ended, and in good order

    lines: list[str] = []
    write_sweep(sweep, "solver.steps=100000")
    reached = int((run / "log.csv").read_text().splitlines()[-1].split(",")[0])
    write_sweep(sweep, f"solver.steps={reached + 20}")  # what a resumed run may change
    swept = run_sweep(sweep, out, data, workers=0, on_step=lines.append)
    assert [line.split(":")[0] for line in lines[1:]] == ["two-3", "one-3"]
    assert lines[-1].endswith("(2 of 2)")
    _check_record(json.loads(swept.record.read_text()), run)
    assert "| one |" in swept.tables.read_text()

    before = (run / "model.safetensors").stat().st_mtime_ns
    run_sweep(sweep, out, data, on_step=lines.append)
    assert lines[-1].startswith(f"{sweep}: 2 runs, 2 of them finished")
    assert (run / "model.safetensors").stat().st_mtime_ns == before

    write_sweep(sweep, f"solver.steps={reached + 20}", "model.neck=max")
    with pytest.raises(InputError, match=r"two-3: trained with model\.neck=residual, and the sw"):
        run_sweep(sweep, out, data)


def _check_record(record: dict[str, Any], run: Path) -> None:
    two, one = record["tables"]["t"]["rows"]
    assert two["runs"][0]["measured"] == load_checkpoint(run / "model.safetensors").measured
    assert [row["runs"][0]["seed"] for row in (two, one)] == [3, 3]
    assert two["runs"][0]["steps"] == one["runs"][0]["steps"]  # not trained again
    assert two["macs"] > one["macs"] > 0
    assert two["paper"] == [31.3]


def test_a_run_that_fails_ends_the_sweep_with_its_own_words(data: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "s.yaml", "solver.steps=50", "solver.lr=1e30")
    with pytest.raises(TrainError, match=r"two-3: .*training diverged.*two-3\.txt"):
        run_sweep(sweep, tmp_path / "out", data, workers=0)


def test_without_pictures_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no shapes to draw"):
        run_sweep(write_sweep(tmp_path / "s.yaml"), tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fastmask_nano", "--sweep", "s"), "found a recipe beside it"),
        (("--sweep", "s", "--resume"), "found --resume beside it"),
        (("--sweep", "s", "--weights", "w"), "found --weights beside it"),
        (("--sweep", "paper_tables_nano", "--jobs", 0), "--jobs 0: expected at least 1"),
        (("--sweep", "paper_table"), "no such sweep"),
        (("fastmask_nano", "--jobs", 2), "no --sweep found beside it"),
        ((), "no recipe named"),
    ],
)
def test_what_does_not_go_with_a_sweep_is_bad_usage(
    maskrt: Callable[..., Ran], tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    done = maskrt("train", *words, "--out", tmp_path / "out", "--data", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (tmp_path / "out").exists()
