"""A report of everything: accuracy, a hop, latency and pictures, with names that are none."""

import numpy as np
import pytest

from maskrt.eval.coco.accuracy import Accuracy
from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.machine.environment import environment
from maskrt.eval.parity.comparison import compare
from maskrt.eval.parity.gates import make_hop
from maskrt.eval.report.page import Report
from maskrt.eval.report.pictures import example_pictures
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions

NASTY = "<b onclick=x>&amp;.onnx"
PICTURES = [np.full((100, 120, 3), 90, np.uint8)]


@pytest.fixture
def report(data, predict, truth_rows, scripted, clock):
    found = predict(truth_rows)
    moved = predict([(i, c, x + 3, y, w, h, s) for i, c, x, y, w, h, s in truth_rows])
    ap, moved_ap = coco_ap(data, found).average, coco_ap(data, moved).average
    accuracy = Accuracy(NASTY, "onnxruntime-cpu", "fp32", "hash a", 3, ap["box"], ap["mask"])
    parity = compare(found, moved, reference_values=ap, candidate_values=moved_ap)
    candidates = [
        Candidate(
            name, scripted(backend="scripted", on_run=lambda ms=ms: clock.advance_ms(ms)), key
        )
        for name, ms, key in ((NASTY, 4.0, "hash a"), ("fm <b>", 2.0, "hash b"))
    ]
    return Report(
        title="Proof of <models>",
        dataset="shapes val, 3 pictures.",
        environment=environment(),
        summary=("Two sentences & one mark.",),
        commands=("maskrt eval a.onnx",),
        accuracy=(accuracy,),
        hops=(make_hop("a", NASTY, "fp32", parity),),
        latency=bench(candidates, PICTURES, BenchOptions(samples=10)),
        pictures=example_pictures(data, found, data.class_names, count=2),
    )
