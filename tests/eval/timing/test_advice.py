"""Which session someone without a GPU is told to use."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskrt.eval.coco.accuracy import AP_NAMES, Accuracy
from maskrt.eval.timing.advice import recommendations
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions

PICTURES = [np.full((100, 120, 3), 90, np.uint8)]


@pytest.fixture
def run(scripted, clock):
    """A bench of rows (name, ms, precision, variant, batch)."""

    def make(*rows):
        candidates = []
        for name, ms, precision, variant, batch in rows:
            predictor = scripted(
                backend=f"backend of {name}", on_run=lambda ms=ms: clock.advance_ms(ms), batch=batch
            )
            predictor.session.contract = dataclasses.replace(
                predictor.contract, precision=precision, variant=variant
            )
            candidates.append(Candidate(name, predictor, f"sha {name}"))
        return bench(candidates, PICTURES, BenchOptions(samples=5))

    return make


def accuracy(name: str, ap: float, mask_ap: float | None = None) -> Accuracy:
    box = dict.fromkeys(AP_NAMES, ap)
    mask = dict.fromkeys(AP_NAMES, ap if mask_ap is None else mask_ap)
    return Accuracy(name, "any", "fp32", f"sha {name}", 3, box, mask)


ROWS = (
    ("a.onnx", 30.0, "fp32", "lsc", 1),
    ("a.onnx@openvino", 20.0, "fp32", "lsc", 1),
    ("b.onnx@openvino", 10.0, "fp16", "lsc", 1),
)


def test_the_fastest_within_the_gate_is_recommended(run):
    accuracies = [accuracy(row[0], ap) for row, ap in zip(ROWS, (50.0, 50.1, 49.8), strict=True)]
    (sentence,) = recommendations(run(*ROWS), accuracies)
    assert sentence.startswith("On this CPU pick b.onnx@openvino (backend of b.onnx@openvino)")
    assert "10.0 ms a picture" in sentence
    assert "0.3 points" in sentence


@pytest.mark.parametrize(("box", "mask"), [(49.7, 50.1), (50.1, 49.7)])
def test_what_loses_more_than_the_gate_is_not(run, box, mask):
    accuracies = [accuracy("a.onnx", 50.0), accuracy("a.onnx@openvino", 50.1)]
    accuracies.append(accuracy("b.onnx@openvino", box, mask))
    (sentence,) = recommendations(run(*ROWS), accuracies)
    assert "pick a.onnx@openvino" in sentence


def test_without_accuracy_precisions_are_not_mixed(run):
    (sentence,) = recommendations(run(*ROWS), [accuracy("a.onnx", 50.0)])
    assert "pick a.onnx@openvino" in sentence
    assert "of those in FP32; accuracy was not measured" in sentence


def test_every_network_and_batch_has_its_own(run):
    other = (("c.onnx", 5.0, "fp32", "fastmask", 1), ("d.onnx", 6.0, "fp32", "fastmask", 1))
    wide = (("e.onnx", 40.0, "fp32", "lsc", 2), ("f.onnx", 44.0, "fp32", "lsc", 2))
    alone = ("g.onnx", 1.0, "fp32", "lsc", 4)
    found = recommendations(run(*ROWS, *other, *wide, alone), [])
    assert [sentence.split()[4] for sentence in found] == ["c.onnx", "a.onnx@openvino", "e.onnx"]
    assert "lsc at batch 2: 20.0 ms a picture" in found[2]


def test_nothing_is_recommended_among_models_that_find_nothing(run):
    assert recommendations(run(*ROWS), [accuracy(row[0], 0.0) for row in ROWS]) == ()
    assert recommendations(run(*ROWS), [accuracy("a.onnx", 0.0)])  # others were not measured


def test_a_single_row_is_no_choice(run):
    assert recommendations(run(ROWS[0]), []) == ()
