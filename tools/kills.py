"""Verbs killed (-9) at random moments: whatever they left under a final name must be whole.

    python -m maskrt.tools.kills VERB... [--kills 20] [--seed 0]

VERB is export, build, eval, demo or data. Each runs once to its end, which gives its time; then it
is started again and again in the same folder, over what the run before left (`data` into another
one, as it reuses what is whole), and killed at a moment between 0 and that time. After every kill
each file with an artefact's suffix is opened as maskrt opens it; hidden temporary files are not
looked at. At the end the verb runs once more and must succeed.

Training has a test of its own, `tests/train/test_interrupted.py`. Exit code 1 when anything was
wrong. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from ..runtime.errors import MaskRTError
from ..runtime.files import sha256_of
from ..runtime.sessions.open import open_artefact
from ..runtime.sidecar import read_sidecar

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"
SHIPPED = CHECKPOINTS / "lsc_mask_rcnn_tiny.safetensors"
QUIET_S = 2.0
"""For children of a killed process to end by themselves."""


def command_of(verb: str, folder: Path, number: int) -> list[str]:
    """What is killed in run `number`; it writes into `folder / "out"`."""
    out, data = folder / "out", str(folder / "data")
    return {
        "export": ["export", str(SHIPPED), "-o", str(out / "a.onnx"), "--precision", "fp16"],
        "build": ["build", str(folder / "a.onnx"), "-o", str(out / "a.engine")],
        "eval": ["eval", str(folder / "a.onnx"), "--data", data, "--against", str(SHIPPED)],
        "demo": ["demo", "--out", str(out), "--images", "8"],
        "data": [
            "data",
            "shapes",
            "--out",
            str(out / f"drawn{number}"),
            "--images",
            "24",
            "--val-images",
            "8",
        ],
    }[verb]


def prepare(verb: str, folder: Path) -> None:
    """The inputs of the verbs that take some."""
    (folder / "out").mkdir()
    if verb in ("build", "eval"):
        run(["export", str(SHIPPED), "-o", str(folder / "a.onnx")])
    if verb == "eval":
        run(["data", "shapes", "--out", str(folder / "data"), "--images", "8", "--val-images", "8"])


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process group of its own, so that what it leaves behind can be found."""
    return subprocess.Popen(
        [sys.executable, "-m", "maskrt", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(words: Sequence[str]) -> float:
    """Seconds of one whole run.

    Raises:
        CalledProcessError: it failed.
    """
    began = time.monotonic()
    process = start(words)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, words)
    return time.monotonic() - began


def left_alive(group: int, wait_s: float = QUIET_S) -> list[str]:
    """Processes of a group that outlive its leader by more than `wait_s`."""
    end = time.monotonic() + wait_s
    while (found := _members(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _members(group: int) -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = status.read_text().rsplit(")", 1)
        except OSError:  # ended meanwhile
            continue
        state, _, process_group = fields.split()[:3]
        if int(process_group) == group and state != "Z":
            found.append(name)
    return found


def _open_whole(path: Path) -> None:
    open_artefact(path).close()


def _open_checkpoint(path: Path) -> None:
    from ..train.weights.checkpoint import load_checkpoint

    load_checkpoint(path)


def _open_engine(path: Path) -> None:
    """The sidecar beside it is this engine's."""
    if read_sidecar(path).fingerprint.engine_sha256 != sha256_of(path):
        raise ValueError("the sidecar is another engine's")


def _read_page(path: Path) -> None:
    if not path.read_text().rstrip().endswith("</html>"):
        raise ValueError(f"{path.name} has no end")


WHOLE: dict[str, Callable[[Path], object]] = {
    ".onnx": _open_whole,
    ".engine": _open_engine,
    ".safetensors": _open_checkpoint,
    ".json": lambda path: json.loads(path.read_text()),
    ".html": _read_page,
}
"""By suffix: opens a file, or raises."""


def not_whole(folder: Path) -> list[str]:
    """Every file under a final name that does not open, with the reason."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix not in WHOLE:
            continue
        try:
            WHOLE[path.suffix](path)
        except (MaskRTError, ValueError, OSError) as err:
            found.append(f"{path.relative_to(folder)}: {err}")
    return found


def kill_often(verb: str, kills: int, rng: Random) -> tuple[int, list[str]]:
    """How many runs were killed before their end, and what was wrong afterwards."""
    wrong: list[str] = []
    killed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(verb, folder)
        whole_s = run(command_of(verb, folder, 0))
        for number in range(kills):
            moment_s = rng.uniform(0, whole_s)
            process = start(command_of(verb, folder, number + 1))
            time.sleep(moment_s)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            found = [f"left alive: {one}" for one in left_alive(process.pid)]
            for text in (*found, *not_whole(folder / "out")):
                wrong.append(f"{verb}, kill {number} after {moment_s:.1f} s: {text}")
            _end_group(process.pid)
        try:
            run(command_of(verb, folder, kills + 1))
        except subprocess.CalledProcessError as err:
            wrong.append(f"{verb}: the last whole run ended with {err.returncode}")
    return killed, wrong


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def main(argv: Sequence[str] | None = None) -> int:
    """Kill some verbs, print a table; 1 when something half-written was left."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("verbs", nargs="+", choices=("export", "build", "eval", "demo", "data"))
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args(argv)
    print("| verb | started | killed before their end | wrong |\n|---|---|---|---|")
    everything: list[str] = []
    for verb in arguments.verbs:
        killed, wrong = kill_often(verb, arguments.kills, Random(arguments.seed))
        print(f"| {verb} | {arguments.kills} | {killed} | {len(wrong)} |", flush=True)
        everything += wrong
    print(*everything, sep="\n")
    return int(bool(everything))


if __name__ == "__main__":
    sys.exit(main())
