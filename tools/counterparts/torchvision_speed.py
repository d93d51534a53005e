"""Mask R-CNN R50-FPN on a CPU: torchvision, its own ONNX file, and the same weights exported here.

    python -m maskrt.tools.counterparts.torchvision_speed --python VENV/bin/python --out F.json

One picture of 800x1333, which is 800x1344 in the network, one network of torchvision with random
weights that finds things in it, 1000 proposals. Turns go A B C .., then back; each is one
unrecorded call and one recorded one. Every row is the picture in and masks of its size out, as
pixels or as run lengths; torchvision is timed without the pasting of masks too. VENV as in
`against_torchvision`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...engines.inline import read_exported
from ...eval import environment, to_json
from ...eval.timing.bootstrap import speed_ratio, summarize
from ...eval.timing.operators import wall_clock
from ...eval.timing.peaks import PeakMeter
from ...export.macs import graph_macs
from ...export.to_onnx import export
from ...runtime.contract import Precision
from ...runtime.files import write_text
from ...runtime.pictures.preprocess import Image
from ...runtime.predictor import Predictor
from ...runtime.sessions.open import model_from_text, open_artefact
from ...train.deploy.deployment import Shapes
from ...train.shapes.scenes import draw_scene
from ...train.weights.import_weights import import_checkpoint
from ...workflows.latency.floor import probes_for
from ..turns import Call, take
from .instances import Instances, agreement, stored

PICTURE_HW, CANVAS_HW = (800, 1333), (800, 1344)
HERE = {
    "maskrt, ONNX Runtime FP32": "fp32.onnx",
    "maskrt, OpenVINO FP32": "fp32.onnx@openvino",
    "maskrt, OpenVINO BF16": "fp16.onnx@openvino",
}
"""Rows of this package, and what each opens."""
EAGER, ITS_ONNX = "torchvision", "torchvision's ONNX file, ONNX Runtime"
WITHOUT = "{}, masks not pasted"


class Eager:
    """`torchvision_eager.py` in a process of its own."""

    def __init__(self, python: Path, folder: Path, threads: int) -> None:
        """Start it; returns when its files are written."""
        script = Path(__file__).with_name("torchvision_eager.py")
        self._process = subprocess.Popen(
            [str(python), str(script), str(folder), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._line()

    def call(self, what: str) -> Call:
        """One call that gives its milliseconds."""

        def time_ms() -> float:
            assert self._process.stdin is not None, "it has a pipe"
            print(what, file=self._process.stdin, flush=True)
            return float(self._line())

        return time_ms

    def close(self) -> None:
        """End of its input, which ends it."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None, "it has a pipe"
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"torchvision_eager.py ended with {self._process.wait()}")
        return line


def its_onnx(path: Path, picture: Image, threads: int) -> Call:
    """Torchvision's own file; it takes a picture of floats."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns at every mask that its loop pastes
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: picture.transpose(2, 0, 1).astype(np.float32) / 255}
    return wall_clock(lambda: session.run(None, feed))


def here(predictor: Predictor, picture: Image) -> Call:
    """A predictor from the picture to run lengths."""
    return wall_clock(lambda: [one.rles() for one in predictor.predict([picture])])


def found_by(predictor: Predictor, picture: Image) -> Instances:
    """What a session gives, as the comparison takes it."""
    canvases, sizes = predictor.preprocess([picture])
    outputs = predictor.run(canvases, sizes)
    count = int(outputs["counts"][0])
    boxes, scores, masks = (
        outputs[name][0, :count].astype(np.float32) for name in ("boxes", "scores", "masks")
    )
    return Instances(boxes, scores, outputs["labels"][0, :count].astype(np.int64), masks)


def measure(python: Path, turns: int, threads: int) -> dict[str, Any]:
    """The record."""
    picture = draw_scene(np.random.default_rng(14), PICTURE_HW).image
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        folder = Path(name)
        np.save(folder / "picture.npy", picture)
        eager = Eager(python, folder, threads)
        opened.callback(eager.close)
        checkpoint = folder / "imported.safetensors"
        import_checkpoint(folder / "weights.pth", "torchvision", checkpoint, norm_eps=1e-5)
        paths: dict[Precision, Path] = {
            "fp32": folder / "fp32.onnx",
            "fp16": folder / "fp16.onnx",
        }
        export(checkpoint, paths, shapes=Shapes(canvas_hw=CANVAS_HW), pictures=[picture])
        calls: dict[str, Call] = {}
        for masks, file in (("{}", "all"), (WITHOUT, "heads")):
            calls[masks.format(EAGER)] = eager.call(file)
            path = folder / f"{file}.onnx"
            calls[masks.format(ITS_ONNX)] = its_onnx(path, picture, threads)
        theirs, same, backends = stored(folder / "found.npz", 1)[0], {}, []
        for title, what in HERE.items():
            ref = model_from_text(folder / what)
            session = open_artefact(ref.path, ref.session, ref.options)
            backends.append(session.backend)
            predictor = opened.enter_context(Predictor(session))
            calls[title] = here(predictor, picture)
            if predictor.contract.precision == "fp32":
                same[title] = asdict(agreement([(theirs, found_by(predictor, picture))]))
        meter = PeakMeter(probes_for(backends))
        for call in calls.values():
            call()
            call()
        times = take(calls, turns, meter.round)
        macs = graph_macs(read_exported(paths["fp32"])[0]).layer_macs
        found = {"versions": eager.versions, "layer_macs": macs, "same": same, **summary(times)}
        return {**found, "peaks": to_json(meter.peaks())}


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    """Samples, medians, and how many times faster than torchvision each is, both ways of it."""
    samples = {name: np.array(taken)[:, None] for name, taken in times.items()}
    faster = {
        name: {base: speed_ratio(samples[base], taken) for base in (EAGER, ITS_ONNX)}
        for name, taken in samples.items()
    }
    medians = {name: summarize(taken) for name, taken in samples.items()}
    return {"samples_ms": times, "summaries": to_json(medians), "faster": to_json(faster)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.counterparts.torchvision_speed")
    parser.add_argument("--python", type=Path, required=True, help="of the venv with torchvision")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2, help="of torchvision (default 2)")
    parser.add_argument("--out", type=Path, required=True, help="JSON record to write")
    arguments = parser.parse_args(argv)
    before = environment([])
    found = measure(arguments.python, arguments.turns, arguments.threads)
    record = {
        "what": " ".join((__doc__ or "").split()),
        "command": "python -m maskrt.tools.counterparts.torchvision_speed "
        f"--python VENV/bin/python --turns {arguments.turns} --out FILE.json",
        **found,
        "environment": before,
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    for name, row in found["faster"].items():
        median = found["summaries"][name]["p50_ms"]
        ratios = ", ".join(f"{ratio['value']:.2f}x {base}" for base, ratio in row.items())
        print(f"{name:40} {median:7.0f} ms  {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
