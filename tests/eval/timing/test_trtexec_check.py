"""The cross-check with a stand-in for trtexec on PATH, a shell script with recorded times."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.trtexec_check import check_engines, trtexec_table
from maskrt.eval.timing.turns import BenchOptions

PICTURES = [np.full((100, 120, 3), 90, np.uint8)]
BANNER = "&&&& RUNNING TensorRT.trtexec [TensorRT v101300] [b35] # trtexec"
GOOD = """#!/bin/sh
echo '{banner}'
for word in "$@"; do
    echo "$word" >> {folder}/words
    case "$word" in --exportTimes=*) times="${{word#--exportTimes=}}" ;; esac
done
cat > "$times" <<'END'
[{{"startComputeMs": 1.0, "computeMs": 1.9, "latencyMs": 9.0}},
 {{"startComputeMs": 3.0, "computeMs": 2.0, "latencyMs": 9.0}},
 {{"startComputeMs": 5.0, "computeMs": 5.0, "latencyMs": 9.0}}]
END
"""


@pytest.fixture
def result(scripted, clock):
    """A bench of a TensorRT engine with engine scope 2.2 ms, and of an ONNX file."""
    device = SimpleNamespace(
        upload=lambda images, sizes: None, execute=lambda: clock.advance_ms(2.2)
    )
    candidates = []
    for name, backend in (("a.onnx", "onnxruntime-cpu"), ("a.engine", "tensorrt")):
        predictor = scripted(backend=backend, on_run=lambda: clock.advance_ms(3.0))
        predictor.session.on_device = device if backend == "tensorrt" else None
        candidates.append(Candidate(name, predictor, f"sha of {name}"))
    return bench(candidates, PICTURES, BenchOptions(samples=10))


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    """Writes a stand-in and puts it on PATH; None takes the real one's place away."""

    def install(text):
        folder = tmp_path / "bin"
        folder.mkdir()
        if text is not None:
            tool = folder / "trtexec"
            tool.write_text(text)
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


@pytest.fixture
def engines(tmp_path):
    return {"a.engine": tmp_path / "a.engine"}


def test_its_median_stands_beside_ours(result, trtexec, engines, tmp_path):
    trtexec(GOOD.format(banner=BANNER, folder=tmp_path))
    (check,) = check_engines(result, engines)
    assert check.failure == ""
    assert check.samples_ms == (1.9, 2.0, 5.0)
    assert check.median_ms == 2.0
    assert check.engine_ms == pytest.approx(2.2)
    assert check.ratio == pytest.approx(1.1)
    assert check.version == "101300"
    words = (tmp_path / "words").read_text().split()
    assert f"--loadEngine={engines['a.engine']}" in words
    assert {"--iterations=10", "--useSpinWait", "--noDataTransfers"} <= set(words)
    table = trtexec_table([check])
    assert table.rows == (("a.engine", "2.200", "2.000", "1.100x", "3", "101300"),)
    assert json.loads(json.dumps(to_json(check)))["samples_ms"] == [1.9, 2.0, 5.0]


def test_without_it_nothing_is_claimed(result, trtexec, engines):
    trtexec(None)
    assert check_engines(result, engines) is None


def test_it_is_not_asked_where_there_is_no_engine(result, trtexec):
    trtexec(None)
    assert check_engines(result, {}) == ()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho '[E] Engine was built by 10.9'\necho bye\nexit 3\n", "built by 10.9"),
        ("#!/bin/sh\nexit 1\n", "exit code 1, it said: nothing"),
        ("#!/bin/sh\nexit 0\n", "its times are unreadable"),
        ("not a program at all", "it could not run"),
    ],
)
def test_a_failure_is_told_in_its_words(result, trtexec, engines, script, words):
    trtexec(script)
    (check,) = check_engines(result, engines)
    assert words in check.failure
    assert check.median_ms is None
    assert check.ratio is None
    table = trtexec_table([check])
    assert table.rows[0][1:4] == ("2.200", "n/a", "n/a")
    assert any(note.startswith("FAILED trtexec on a.engine") for note in table.notes)
