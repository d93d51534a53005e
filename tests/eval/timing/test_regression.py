"""An earlier bench read back, matched by name and bytes, and judged by its interval."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from maskrt.eval.machine.environment import environment
from maskrt.eval.report.page import Report, write_report
from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.regression import (
    compare_runs,
    environment_change,
    read_earlier,
    regression_table,
    require_match,
)
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions
from maskrt.runtime.errors import InputError

PICTURES = [np.full((100, 120, 3), 90, np.uint8)]
OPTIONS = BenchOptions(samples=40)
ROW = {"name": "a", "sha256": "s"}


@pytest.fixture
def run(scripted, clock):
    """A bench of rows (name, ms, sha256) on the scripted clock; `seed` is of their noise."""

    def make(*rows, seed=0, spread=0.02, options=OPTIONS):
        candidates = []
        for name, ms, sha256 in rows:
            rng = np.random.default_rng(seed)

            def on_run(ms=ms, rng=rng):
                clock.advance_ms(ms * rng.lognormal(0.0, spread))

            candidates.append(Candidate(name, scripted(on_run=on_run), sha256))
        return bench(candidates, PICTURES, options)

    return make


@pytest.fixture
def earlier(run, tmp_path):
    """The JSON of a run of a.onnx at 10 ms, as its report wrote it."""
    report = Report("Then", "One picture.", environment(), latency=run(("a.onnx", 10.0, "sha a")))
    return write_report(report, tmp_path / "then.html")[1]


def test_the_same_speed_passes(earlier, run):
    found = compare_runs(
        read_earlier(earlier), run(("a.onnx", 10.0, "sha a"), seed=1), environment()
    )
    assert not found.failed
    assert {change.scope for change in found.changes} == {"model", "pipeline"}
    for change in found.changes:
        assert change.ratio.low <= 1.0 <= change.ratio.high
    assert found.environment_change == ""
    assert found.unmatched == ()


def test_a_slower_run_fails_and_says_by_how_much(earlier, run):
    found = compare_runs(
        read_earlier(earlier), run(("a.onnx", 12.0, "sha a"), seed=1), environment()
    )
    assert found.failed
    for change in found.changes:
        assert change.ratio.low <= 1.2 <= change.ratio.high
        assert change.ratio.low > 1.05
    table = regression_table(found)
    assert {row[-1] for row in table.rows} == {"FAILED"}
    assert json.loads(json.dumps(to_json(found)))["failed"] is True


def test_what_is_allowed_decides(earlier, run):
    now = run(("a.onnx", 12.0, "sha a"), seed=1)
    assert not compare_runs(read_earlier(earlier), now, environment(), 1.3).failed


def test_an_interval_that_reaches_below_the_limit_passes(earlier, run):
    """The median is slower than allowed, but not for certain."""
    now = run(("a.onnx", 10.6, "sha a"), seed=2, spread=0.4)
    found = compare_runs(read_earlier(earlier), now, environment())
    assert all(change.ratio.low < 1.05 < change.ratio.high for change in found.changes)
    assert not found.failed


def test_too_few_turns_on_either_side_decide_nothing(earlier, run, tmp_path):
    short = BenchOptions(samples=8)
    for then, now in (
        (read_earlier(earlier), run(("a.onnx", 99.0, "sha a"), options=short)),
        (
            written(run(("a.onnx", 10.0, "sha a"), options=short), tmp_path),
            run(("a.onnx", 99.0, "sha a")),
        ),
    ):
        found = compare_runs(then, now, environment())
        assert not found.failed
        assert found.turns_missing == to_json(found)["turns_missing"] == 2
        table = regression_table(found)
        assert {row[-1] for row in table.rows} == {"undecided"}
        assert "2 of the 10 turns that a verdict needs" in " ".join(table.notes)


def written(result, folder):
    path = folder / "written.json"
    path.write_text(json.dumps(to_json(result)))
    return read_earlier(path)


def test_other_bytes_are_not_compared(earlier, run):
    then = read_earlier(earlier)
    now = run(("a.onnx", 99.0, "other sha"), ("b.onnx", 1.0, "sha a"))
    found = compare_runs(then, now, environment())
    assert found.changes == ()
    assert found.unmatched == ("a.onnx", "b.onnx")
    assert "same name and bytes: a.onnx, b.onnx" in " ".join(regression_table(found).notes)
    with pytest.raises(InputError, match=r"none of the models .*a\.onnx \(sha a\)"):
        require_match(then, [("a.onnx", "other sha")])
    require_match(then, [("a.onnx", "other sha"), ("a.onnx", "sha a")])


def test_the_line_of_json_is_read_too(run, tmp_path):
    path = tmp_path / "line.json"
    path.write_text(json.dumps({**to_json(run(("a.onnx", 10.0, "s"))), "environment": {}}))
    then = read_earlier(path)
    assert then.samples_ms["a.onnx", "s"]["model"].shape == (20, 2)
    found = compare_runs(then, run(("a.onnx", 10.0, "s")), environment())
    assert "does not say on which machine" in found.environment_change


def test_another_machine_is_said():
    then = {"cpu": "A", "cores": 2, "gpus": "none", "versions": {"numpy": "1", "torch": "2"}}
    now = {"cpu": "B", "cores": 2, "gpus": ["H"], "versions": {"numpy": "1", "openvino": "3"}}
    assert environment_change(then, now) == (
        "Machine or software changed: cpu A → B; gpus none → H; openvino none → 3; torch 2 → none."
    )
    assert environment_change(now, now) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "another kind"),
        ('{"latency": null}', "another kind"),
        ('{"backends": [{"name": "a"}]}', "another kind"),
        ('{"backends": [{"name": "a", "sha256": "s", "samples_ms": {"model": []}}]}', "kind"),
        *(
            (json.dumps({"backends": [{**ROW, "samples_ms": {"model": samples}}]}), words)
            for samples, words in (
                ([[0]], "lie from 0 to 0 ms"),
                ([[1e-320]], "lie from 9.99989e-321"),
                ([[float("nan"), 1]], "lie from nan"),
                ([[1, float("inf")]], "to inf ms"),
                ([[1], [1, 2]], "kind"),
                ([[{}]], "kind"),
            )
        ),
        ('{"backends": [{"name": "a", "sha256": 0.5, "samples_ms": {}}]}', "not both text"),
        ('{"backends": [{"name": [], "sha256": "s", "samples_ms": {}}]}', "not both text"),
        ('{"backends": [], "environment": 1.5}', "not named values"),
        ('{"backends": [], "environment": {"versions": [1, 2]}}', "not named values"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_bench_is_refused(tmp_path, text, words):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"other.json: .*{words}"):
        read_earlier(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"pipe\.json: not a file"):
        read_earlier(tmp_path / "pipe.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_earlier(tmp_path / "absent.json")
