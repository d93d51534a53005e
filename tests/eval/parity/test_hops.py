import dataclasses

import pytest

from maskrt.eval.coco.accuracy import AP_NAMES, AR_NAMES, metric_of
from maskrt.eval.parity.hops import hop_between, measure
from maskrt.runtime.errors import InputError


@pytest.fixture
def artefact(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"abc")
    return path


def test_instances_are_measured_by_precision(scripted, data, artefact):
    accuracy = measure(scripted(), artefact, data).accuracy
    assert (accuracy.metric, accuracy.headline) == ("AP", "AP")
    assert tuple(accuracy.box) == tuple(accuracy.mask) == AP_NAMES
    assert accuracy.recalls == {}
    assert accuracy.measured == {"box_ap": accuracy.box["AP"], "mask_ap": accuracy.mask["AP"]}


def test_proposals_are_measured_by_recall(proposing, data, artefact):
    """One proposal in each picture, which meets one of five objects exactly."""
    accuracy = measure(proposing(), artefact, data).accuracy
    assert (accuracy.metric, accuracy.headline) == ("AR", "AR@100")
    assert tuple(accuracy.box) == tuple(accuracy.mask) == AR_NAMES
    assert accuracy.mask["AR@10"] == accuracy.box["AR@1000"] == pytest.approx(20.0)
    assert accuracy.mask["ARm"] == pytest.approx(50.0)
    assert accuracy.recalls["box"]["AR@100"] == pytest.approx([20.0] * 10)
    assert accuracy.images == 3
    assert accuracy.sha256.startswith("ba7816bf")
    assert list(accuracy.measured) == [
        "box_ar_10",
        "box_ar_100",
        "box_ar_1000",
        "mask_ar_10",
        "mask_ar_100",
        "mask_ar_1000",
    ]


def test_a_hop_between_equal_proposals_passes(proposing, data, artefact):
    first = measure(proposing(), artefact, data)
    second = dataclasses.replace(first)
    hop = hop_between(first, second, "fp32")
    assert hop.failures == ()
    assert hop.parity.metric == "AR"
    assert hop.parity.pairs == 3


def test_two_tasks_make_no_hop(scripted, proposing, data, artefact):
    pair = measure(scripted(), artefact, data), measure(proposing(), artefact, data)
    with pytest.raises(InputError, match=r"gives proposals, a\.onnx instances"):
        hop_between(*pair, "fp32")


def test_every_task_has_a_metric():
    assert (metric_of("instances"), metric_of("proposals")) == ("AP", "AR")
