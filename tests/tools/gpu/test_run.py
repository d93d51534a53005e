"""`make gpu` without a GPU: what is run, skipped, resumed and kept, with real cheap stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskrt.eval import Table
from maskrt.runtime.errors import InputError
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.tools.gpu import record, run
from maskrt.tools.gpu.networks import NETWORKS
from maskrt.tools.gpu.record import (
    Found,
    NotRunError,
    Result,
    Setting,
    machine,
    read_result,
    run_key,
    write_record,
    write_result,
)
from maskrt.tools.gpu.run import STAGES, planned, run_stages
from maskrt.tools.gpu.stages import REHEARSED_CASES, Stage, read_tests, run_stage, time_operators
from maskrt.workflows.operators.cases import CASES

no_gpu = pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")
FACTS = dict.fromkeys(record.STEADY, "x")
KEY = "code-machine"
TABLE = Table("Times", ("name", "ms"), (("a", "1.0"),), ("One note.",), keys=1)
FOUND = Found((TABLE,), ("All is well.",), {"b": "no b here"}, (), {"samples": [1.5, None]})


@no_gpu
def test_without_a_gpu_one_sentence_says_what_was_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpu: no NVIDIA GPU can be used here (")
    assert f"Not run: {', '.join(STAGES)}. Run it on a machine" in said
    assert not list(tmp_path.iterdir())


def test_an_unknown_stage_is_said_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["demos", "--rehearse"]) == 2
    assert "stage 'demos': unknown; expected environment, tests" in capsys.readouterr().err


def test_stages_keep_their_order_and_bring_what_they_take() -> None:
    assert [stage.name for stage in planned([])] == list(STAGES)
    assert list(STAGES)[:4] == ["environment", "tests", "operators", "demo"]
    lsc = ["lsc-onnx", "lsc-engines", "lsc"]
    assert [stage.name for stage in planned(["lsc", "demo"])] == ["demo", *lsc]
    made = {f"{name}-{kind}" for name in NETWORKS for kind in ("onnx", "engines")}
    assert {stage.name for stage in planned(["layers"])} == {*made, "layers"}


def test_a_stage_is_not_run_again_until_the_machine_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = machine()
    monkeypatch.setattr(run, "machine", lambda: facts)
    words = ["environment", "--rehearse", "--out", str(tmp_path)]
    assert run.main(words) == 0
    kept = tmp_path / "stages" / "environment.json"
    first = kept.stat().st_mtime_ns
    assert "environment: what is here (log: " in capsys.readouterr().out

    assert run.main(words) == 0
    assert kept.stat().st_mtime_ns == first
    assert "environment: done in " in (said := capsys.readouterr().out)
    assert "s, already\n" in said

    facts["driver"] = "another"
    assert run.main(words) == 0
    assert kept.stat().st_mtime_ns > first
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    (stage,) = written["details"]["stages"]
    assert (stage["stage"], stage["state"]) == ("environment", "done")
    assert written["environment"]["driver"] == "another"
    assert written["details"]["rehearsal"] is True
    assert "What this machine can run" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_stage_that_dies_is_kept_with_its_last_words_and_stops_no_other(tmp_path: Path) -> None:
    setting = Setting(tmp_path, True, KEY)
    # the process of a stage that is in no list ends as argparse ends it
    unheard_of = Stage("unheard-of", "nothing", run=lambda setting: FOUND)
    stages = [unheard_of, STAGES["environment"]]
    failed, done = run_stages(stages, setting, FACTS, 60, "x")
    assert (failed.state, done.state) == ("failed", "done")
    assert failed.why.startswith("ended by exit code 2; it said last: ")
    assert "invalid choice" in failed.why


@pytest.mark.parametrize(
    ("code", "limit_s", "ended"),
    [
        ("print('so far')", 60, None),
        ("print('so far', flush=True); import os; os.abort()", 60, "ended by SIGABRT; it said"),
        ("print('so far', flush=True); import time; time.sleep(60)", 1, "stopped after 1 s; it"),
    ],
)
def test_how_a_process_ended_is_said(
    tmp_path: Path, code: str, limit_s: float, ended: str | None
) -> None:
    log = tmp_path / "logs" / "x.log"
    how = run._run_process([sys.executable, "-c", code], log, limit_s)
    assert log.read_text(encoding="utf-8") == "so far\n"
    assert how is None if ended is None else str(how).startswith(ended)


def test_what_a_stopped_stage_had_started_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    run._run_process(["sh", "-c", "sleep 60 & echo $!; wait"], log, 0.5)
    child = int(log.read_text(encoding="utf-8"))
    for _ in range(50):  # until init has taken it in
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{child}/stat").read_text(encoding="ascii").split()[2]:
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child of a stopped stage goes on")


def test_a_stage_whose_packages_are_missing_is_not_run(tmp_path: Path) -> None:
    lacking = Stage("lacking", "x", run_never, packages=("no_such_package", "json"))
    (result,) = run_stages([lacking], Setting(tmp_path, True, KEY), FACTS, 60, "x")
    assert (result.state, result.why) == ("not run", "not installed: no_such_package")
    assert read_result(tmp_path, "lacking", KEY) == result


def run_never(setting: Setting) -> Found:
    raise AssertionError("its packages are missing")


def broken(setting: Setting) -> Found:
    raise ZeroDivisionError("by nought\nand more")


def refused(setting: Setting) -> Found:
    raise InputError("x.onnx: no such file; expected one. Make it.")


def idle(setting: Setting) -> Found:
    raise NotRunError({"a": "no engine", "b": "no engine", "c": "no GPU"})


@pytest.mark.parametrize(
    ("does", "state", "why"),
    [
        (lambda setting: FOUND, "done", ""),
        (lambda setting: Found(failures=("a is off", "b too")), "failed", "a is off; b too"),
        (broken, "failed", "ZeroDivisionError: by nought"),
        (refused, "failed", "x.onnx: no such file; expected one. Make it."),
        (idle, "not run", "no engine; no GPU"),
    ],
    ids=["found", "found wrong", "broken", "refused", "idle"],
)
def test_how_a_stage_ends_is_its_result(tmp_path: Path, does: object, state: str, why: str) -> None:
    stage = Stage("x", "x", does)  # type: ignore[arg-type]
    result = run_stage(stage, Setting(tmp_path, False, KEY))
    assert (result.state, result.why) == (state, why)
    write_result(tmp_path, result)
    assert read_result(tmp_path, "x", KEY) == result
    assert read_result(tmp_path, "x", "other key") is None


def test_a_file_that_is_cut_is_no_result(tmp_path: Path) -> None:
    write_result(tmp_path, Result("x", "done", KEY, 1.0, found=FOUND))
    file = tmp_path / "stages" / "x.json"
    file.write_bytes(file.read_bytes()[:-9])
    assert read_result(tmp_path, "x", KEY) is None
    assert read_result(tmp_path, "y", KEY) is None


def test_the_key_is_of_code_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run_key(FACTS, rehearsal=False)
    assert key == run_key({**FACTS, "load_average": 9}, rehearsal=False)
    assert key != run_key({**FACTS, "gpu": "another"}, rehearsal=False)
    code = key.partition("-")[0]
    assert code in run_key({**FACTS, "gpu": "another"}, rehearsal=False)
    assert code not in run_key(FACTS, rehearsal=True)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    source = tmp_path / "eval" / "a.py"
    source.parent.mkdir()
    source.write_text("a = 1\n", encoding="utf-8")
    before = run_key(FACTS, rehearsal=False)
    source.write_text("a = 2\n", encoding="utf-8")
    assert len({key, before, run_key(FACTS, rehearsal=False)}) == 3
    assert record.commit() == "unknown"


@pytest.mark.parametrize("has_page", [True, False])
def test_the_record_says_all_that_ran_and_all_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_page: bool
) -> None:
    if not has_page:
        monkeypatch.setattr(record, "find_spec", lambda name: None)
    results = [
        Result("one", "done", KEY, 61.0, found=FOUND),
        Result("two", "failed", KEY, 3.0, "it broke"),
        Result("three", "not run", KEY, 0.0, "not installed: x"),
    ]
    files = write_record(Setting(tmp_path, False, KEY), results, FACTS, "make gpu")
    assert {file.suffix for file in files} == {".json", ".md", *[".html"] * has_page}
    written = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    stages = written["details"]["stages"]
    assert [stage["state"] for stage in stages] == ["done", "failed", "not run"]
    assert stages[0]["found"]["details"] == {"samples": [1.5, None]}
    assert stages[1]["why"] == "it broke"
    assert (written["commands"], written["environment"]) == (["make gpu"], FACTS)
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    for text in ("one: All is well.", "it broke", "not installed: x", "no b here", "one: Times"):
        assert text in page


TESTS = """
import pytest

def test_passes():
    pass

def test_fails():
    assert 1 == 2

@pytest.mark.skip(reason="no RTX GPU")
def test_skipped():
    pass
"""


def test_pytests_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "test_two.py").write_text("import no_such_package\n", encoding="utf-8")
    (tmp_path / "test_three.py").write_text("import maskrt.no_such_module\n", encoding="utf-8")
    written = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors"]
    command += [f"--junitxml={written}", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    subprocess.run([*command, str(tmp_path)], check=False, capture_output=True)
    found = read_tests(written)
    assert found.sentences == ("1 passed, 2 failed, 2 not run",)
    assert found.details["passed"] == ["test_one.test_passes"]
    assert found.absent["test_one.test_skipped"] == "no RTX GPU"
    assert found.absent["test_two"] == "ModuleNotFoundError: No module named 'no_such_package'"
    three, fails = sorted(found.failures, key=lambda text: "test_fails" in text)
    assert "No module named 'maskrt.no_such_module'" in three
    assert fails.startswith("test_one.test_fails: ")
    assert "assert 1 == 2" in fails


def test_the_operators_that_cannot_run_here_are_absent_and_not_right(tmp_path: Path) -> None:
    found = time_operators(Setting(tmp_path, True, KEY))
    assert (len(found.tables), found.failures) == (3, ())
    assert {case.func for case in REHEARSED_CASES} == {case.func for case in CASES}
    names = {row["name"] for case in found.details["cases"] for row in case["rows"]}
    assert names.isdisjoint(found.absent)
    assert {"torchvision, CUDA FP16", "PTX kernel, CUDA FP32"} <= names | set(found.absent)
