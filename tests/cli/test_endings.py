"""Exit codes, and that each ending but a good one is one sentence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrt.cli import endings
from maskrt.cli.main import main
from maskrt.cli.verbs import doctor
from maskrt.runtime.errors import InputError
from maskrt.runtime.packages import EXTRAS

Run = Callable[..., Any]


@pytest.fixture
def doctor_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets a verb do something else."""
    return lambda what: monkeypatch.setattr(doctor, "run", lambda _: what())


def raising(err: BaseException) -> Callable[[], object]:
    def run() -> object:
        raise err

    return run


def test_an_unforeseen_error_is_3_and_one_sentence_that_names_its_traceback(
    maskrt: Run,
    doctor_does: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    doctor_does(raising(ZeroDivisionError("nobody\nthought of it")))
    ran = maskrt("doctor", "--json")
    (file,) = tmp_path.iterdir()
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        "maskrt doctor: ZeroDivisionError: nobody; expected a result or a known error. "
        f"Report it with the traceback in {file}.\n"
    )
    assert re.search(r"Traceback .*\n.*main\.py", file.read_text())


def test_where_no_file_can_be_written_the_traceback_is_printed(
    maskrt: Run, doctor_does: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: raising(OSError(28, "full"))())
    doctor_does(raising(MemoryError()))
    ran = maskrt("doctor")
    assert ran.code == 3
    assert "Traceback" in ran.err
    assert ran.err.endswith("Report it with the traceback above.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_verb_whatever_it_makes_of_them(
    maskrt: Run, doctor_does: Callable[..., None], number: signal.Signals
) -> None:
    def refused() -> object:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as err:  # as torch's exporter and TensorRT's logger do
            raise InputError("a.onnx: refused") from err
        raise AssertionError("the signal came late")

    def swallowed() -> object:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            return {"exit_code": 1}
        raise AssertionError("the signal came late")

    before = signal.getsignal(number)
    for verb in (refused, swallowed, lambda: os.kill(os.getpid(), number)):
        doctor_does(verb)
        ran = maskrt("doctor")
        assert ran.code == 128 + number
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
        assert ran.err == f"maskrt doctor: {word}; nothing half-written stays.\n"
    assert signal.getsignal(number) == before


def test_an_interruption_may_bring_its_own_sentence(
    maskrt: Run, doctor_does: Callable[..., None]
) -> None:
    doctor_does(raising(KeyboardInterrupt("interrupted at step 7. Go on with --resume.")))
    ran = maskrt("doctor")
    assert (ran.code, ran.err) == (
        130,
        "maskrt doctor: interrupted at step 7. Go on with --resume.\n",
    )


def test_a_forked_worker_dies_of_sigterm_as_any_process() -> None:
    with endings.Signals():
        worker = os.fork()
        if not worker:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGTERM


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("words", [("doctor",), ("--help",), ("doctor", "--json")])
def test_an_output_that_is_full_is_one_sentence(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "maskrt", *words], stdout=full, stderr=-1, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        f"maskrt {words[0]}: its output could not be written (No space left on device); "
        "write it somewhere else.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_standard_error_changes_no_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "maskrt", "predict", "missing.onnx", "a.jpg", "--out", "o"]
        assert subprocess.run(words, stderr=full, check=False).returncode == 2


def test_a_reader_that_has_left_is_no_error_of_ours() -> None:
    words = [sys.executable, "-m", "maskrt", "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("verb", "package", "line"),
    [
        (["new", "lsc_mask_rcnn_tiny", "-o", "OUT.safetensors"], "torch", "[train]"),
        (["export", "CHECKPOINT", "-o", "OUT.onnx"], "torch", "[export]"),
        (["export", "CHECKPOINT", "-o", "OUT.onnx"], "onnxscript", "[export]"),
        (["build", "ONNX", "-o", "OUT.engine"], "onnx", "[engines]"),
        (["predict", "CHECKPOINT", "VAL", "--out", "OUT"], "torch", "[train]"),
        (["predict", "CHECKPOINT", "VAL", "--out", "OUT"], "yaml", "[cpu]"),
        (["predict", "ONNX", "VAL", "--out", "OUT"], "cv2", ""),
        (["inspect", "CHECKPOINT"], "safetensors", "[train]"),
        (["inspect", "ONNX"], "onnx", "[cpu]"),
        (["bench", "ONNX", "--samples", "1"], "rich", "[cpu]"),
        (["bench", "ONNX", "--samples", "1", "--html", "OUT.html"], "jinja2", "[report]"),
        (["demo", "--out", "OUT"], "torch", "[demo]"),
        (["bisect", "CHECKPOINT", "--data", "DATA", "-o", "OUT.json"], "onnx", "[demo]"),
    ],
)
def test_a_missing_package_is_one_sentence_with_its_pip_line(
    chain: Any, tmp_path: Path, verb: list[str], package: str, line: str
) -> None:
    files = {"CHECKPOINT": chain.checkpoint, "ONNX": chain.onnx, "DATA": chain.data}
    files["VAL"] = chain.data / "val"
    words = [str(files.get(word, word.replace("OUT", str(tmp_path / "out")))) for word in verb]
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from maskrt.cli.main import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, package, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    *_, last = done.stderr.splitlines()
    assert re.search(rf"{verb[0]}: .*\b{package}\b.* (is )?not installed", last)
    assert last.rstrip(".").endswith(f'Run in a clone of maskrt: pip install ".{line}"')
    # the demo has drawn its pictures by then
    assert verb[0] == "demo" or list(tmp_path.iterdir()) == []


def test_the_library_names_the_pip_line_too(chain: Any) -> None:
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "import maskrt\n"
        "try:\n    maskrt.load(sys.argv[1])\n"
        "except maskrt.InputError as err:\n    print(err)"
    )
    words = [sys.executable, "-c", code, str(chain.checkpoint)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert re.search(r'safetensors is not installed.*pip install "\.\[train', told)


def test_every_package_is_in_the_extras_that_are_named_for_it() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    (own,) = re.findall(r"maskrt\[(.*)\]", extras["demo"][0])
    extras["demo"] = [line for extra in own.split(",") for line in extras[extra]]
    distributions = {"cv2": "opencv-python-headless", "yaml": "PyYAML", "jinja2": "Jinja2"}
    distributions |= {name: name.replace("_", "-") for name in EXTRAS if "_" in name}
    distributions["starlette"] = "fastapi"  # which brings it
    for package, named in EXTRAS.items():
        pattern = re.compile(rf"{distributions.get(package, package)}[>=<\[]")
        assert {e for e, lines in extras.items() if any(map(pattern.match, lines))} == set(named)


def test_an_error_of_the_command_line_itself_stays_bad_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict"])
    assert "usage" in capsys.readouterr().err
