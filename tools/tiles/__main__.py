"""A large picture of small objects, whole and in tiles: AP, what is found, and peak memory.

    python -m maskrt.tools.tiles MODEL.onnx [--out eval/records/tiles_cpu.json]

A drawn picture of 6000x4000 px holds 400 objects of 16 to 80 px. It is predicted whole and in
tiles, each in a process of its own, whose greatest resident set is its peak. So is that picture,
repeated until it fills 12,000x9,000 px, in tiles twice as large. AP is COCO's with up to 1000
detections of a class in a picture instead of 100, so that no ranking is cut.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...eval.coco.data import CocoData, load_coco
from ...eval.coco.predictions import Prediction, coco_rows, prediction_from_instances
from ...eval.coco.results import evaluator_of
from ...eval.machine.environment import environment
from ...eval.matching.evaluators import evaluate, evaluator_name
from ...runtime.files import write_text
from ...runtime.pictures.preprocess import read_image
from ...runtime.predictor import Predictor
from ...runtime.sessions.open import open_artefact
from ...runtime.tiles.predictor import in_tiles
from .field import NAME, draw_field

PICTURE_HW, GRID, LARGE_HW = (4000, 6000), (16, 25), (9000, 12000)
TILE_PX, LARGE_TILE_PX = 320, 640
OVERLAP_PX = 80
"""No object is longer."""
MOST = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("model", type=Path)
    options.add_argument("--out", type=Path, default=Path("eval/records/tiles_cpu.json"))
    options.add_argument("--one", type=Path, help="only predict this folder's picture, as JSON")
    options.add_argument("--tiles", type=int, metavar="PX", help="with --one: in tiles")
    arguments = options.parse_args(argv)
    if arguments.one is not None:
        print(json.dumps(measured(arguments.model, arguments.one, arguments.tiles)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        found = _all(arguments.model, Path(name))
    write_text(arguments.out, json.dumps(found, indent=1) + "\n")
    return 0


def _all(model: Path, folder: Path) -> dict[str, Any]:
    small, large = folder / "small", folder / "large"
    draw_field(small, PICTURE_HW, GRID)
    _lay_out(small, large)
    return {
        "environment": environment(),
        "model": model.name,
        "picture_hw": PICTURE_HW,
        "objects": GRID[0] * GRID[1],
        "tile_px": TILE_PX,
        "overlap_px": OVERLAP_PX,
        "evaluator": evaluator_name(),
        "whole": _in_a_process(model, small),
        "tiles": _in_a_process(model, small, TILE_PX),
        "large_hw": LARGE_HW,
        "large_tile_px": LARGE_TILE_PX,
        "large_tiles": _in_a_process(model, large, LARGE_TILE_PX),
    }


def _lay_out(small: Path, large: Path) -> None:
    """The picture again and again until it fills the large one; nothing is known of objects."""
    (large / "val").mkdir(parents=True)
    picture = np.asarray(cv2.imread(str(small / "val" / NAME)))
    repeats = [-(-LARGE_HW[axis] // PICTURE_HW[axis]) for axis in (0, 1)]
    filled = np.tile(picture, (*repeats, 1))[: LARGE_HW[0], : LARGE_HW[1]]
    cv2.imwrite(str(large / "val" / NAME), filled)


def _in_a_process(model: Path, folder: Path, tile_px: int | None = None) -> dict[str, Any]:
    words = [] if tile_px is None else ["--tiles", str(tile_px)]
    command = [sys.executable, "-m", str(__package__), str(model), "--one", str(folder), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(model: Path, folder: Path, tile_px: int | None) -> dict[str, Any]:
    """One picture by one predictor; AP where the folder holds annotations."""
    with Predictor(open_artefact(model)) as opened:
        predictor = in_tiles(opened, tile_px, None if tile_px is None else OVERLAP_PX)
        image = read_image(folder / "val" / NAME)
        (found,) = predictor.predict(image)
    prediction = prediction_from_instances(1, found)
    known = (folder / "annotations").is_dir()
    return {
        "instances": len(found),
        "above_half": int((found.scores >= 0.5).sum()),
        "picture_bytes": image.nbytes,
        # before AP is taken: the evaluator's memory is none of ours
        "peak_bytes": peak_bytes(),
        **({"mask_ap": mask_ap(load_coco(folder), prediction)} if known else {}),
    }


def peak_bytes() -> int:
    """The greatest resident set of this process, without that of the one that started it.

    /proc (Linux only): `getrusage` hands the parent's peak on to a child.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def mask_ap(data: CocoData, prediction: Prediction) -> float:
    """COCO's mask AP of the one picture, of up to `MOST` detections of a class."""
    rows = coco_rows([prediction], data.category_ids)
    evaluator = evaluator_of(data, rows, "mask", [prediction.image_id])
    evaluator.params.maxDets = [1, 10, MOST]
    evaluate(evaluator)
    evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0, -1]
    return 100 * float(precision[precision > -1].mean())


if __name__ == "__main__":
    raise SystemExit(main())
