"""Each extra alone, in a fresh environment made from a wheel: which verbs run, which refuse how.

    python -m maskrt.tools.try_extras [EXTRA ...] [--keep DIR]

Every verb is called in each environment with small files that this one makes first. What an extra
promises must end with 0; all else with 2 and one sentence that names the pip line. Exit code 1
where one does not. Downloads as much as the extras need (torch for `train` and `export`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "lsc_mask_rcnn_tiny"
CHECKPOINT = ROOT / "train" / "checkpoints" / f"{RECIPE}.safetensors"
PROMISED: dict[str, tuple[str, ...]] = {
    "cpu": ("predict-onnx", "eval-onnx", "eval-fp16", "bench", "inspect-onnx", "inspect-engine"),
    "openvino": ("predict-openvino", "eval-openvino", "bench-openvino", "inspect-onnx"),
    "engines": ("build", "inspect-onnx", "inspect-engine"),
    "export": ("export", "new", "inspect-checkpoint", "inspect-onnx"),
    "train": ("data", "new", "train", "predict-checkpoint", "inspect-checkpoint"),
}
"""Besides `doctor`, which always runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Try the extras and print a table; 1 when one does not do what it promises."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("extras", nargs="*", metavar="EXTRA", help=", ".join(PROMISED))
    options.add_argument("--keep", type=Path, help="folder for the environments")
    arguments = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        files = _make_files(folder)
        print("| extra | verb | exit code | said |\n|---|---|---|---|", flush=True)
        broken = [row for extra in arguments.extras or PROMISED for row in _tried(extra, files)]
    return int(bool(broken))


def _make_files(folder: Path) -> Path:
    """Pictures, both ONNX files and an engine by this environment, and the wheel."""
    files = folder / "files"
    source = files / "source"
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(files), str(source)]
    subprocess.run(wheel, check=True)
    for words in (
        "data shapes --out shapes --images 2 --val-images 2",
        f"export {CHECKPOINT} -o a.onnx",
        f"export {CHECKPOINT} -o half.onnx --precision fp16",
        "build a.onnx -o a.engine",
    ):
        command = [sys.executable, "-m", "maskrt", *words.split()]
        subprocess.run(command, cwd=files, check=True, stdout=subprocess.DEVNULL)
    return files


def _tried(extra: str, files: Path) -> Iterator[str]:
    """Print a row for each verb; yields the verbs that ended otherwise than they may."""
    home = files.parent / extra
    venv.create(home, with_pip=True, clear=True)
    (wheel,) = files.glob("*.whl")
    pip = str(home / "bin" / "pip")
    install = [pip, "install", "-q", f"maskrt[{extra}] @ {wheel.as_uri()}"]
    subprocess.run(install, check=True)
    for name, words in _commands(files, home).items():
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        ran = subprocess.run(
            [home / "bin" / "maskrt", *words],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        said = ran.stderr.strip().splitlines()[-1:] if ran.returncode else []
        print(f"| {extra} | {name} | {ran.returncode} | {''.join(said)} |", flush=True)
        promised = name in PROMISED[extra] or name == "doctor"
        refused = ran.returncode == 2 and "pip install" in ran.stderr
        if ran.returncode != 0 and (promised or not refused):
            yield name


def _commands(files: Path, out: Path) -> dict[str, list[str]]:
    val, onnx, half = files / "shapes" / "val", files / "a.onnx", files / "half.onnx"
    data = ["--data", files / "shapes", "--first", 1]
    predict = [val, "--out", out / "predicted"]
    checkpoint = out / "new.safetensors"
    openvino = f"{onnx}@openvino"
    commands: dict[str, list[object]] = {
        "doctor": ["doctor"],
        "data": ["data", "shapes", "--out", out / "s", "--images", 1, "--val-images", 1],
        "new": ["new", RECIPE, "-o", checkpoint],
        "train": [
            *("train", RECIPE, "solver.steps=1", "--data", files / "shapes"),
            *("--out", out / "run", "--workers", 0),
        ],
        "export": ["export", CHECKPOINT, "-o", out / "b.onnx"],
        "build": ["build", onnx, "-o", out / "b.engine"],
        "predict-checkpoint": ["predict", CHECKPOINT, *predict],
        "predict-onnx": ["predict", onnx, *predict],
        "predict-openvino": ["predict", openvino, *predict],
        "predict-engine": ["predict", files / "a.engine", *predict],
        "serve": ["serve", onnx, "--port", 0],  # refused: its extra stands beside these
        "page": ["page", onnx, "-o", out / "page"],
        "eval-onnx": ["eval", onnx, *data],
        "eval-fp16": ["eval", half, *data],
        "eval-openvino": ["eval", openvino, *data],
        "bench": ["bench", onnx, "--samples", 1],
        "bench-openvino": ["bench", openvino, "--samples", 1],
        "bench-html": ["bench", onnx, "--samples", 1, "--html", out / "b.html"],
        "inspect-checkpoint": ["inspect", CHECKPOINT],
        "inspect-onnx": ["inspect", onnx],
        "inspect-engine": ["inspect", files / "a.engine"],
        "bisect": ["bisect", CHECKPOINT, "-o", out / "p.json", *data],
        "demo": ["demo", "--out", out / "demo", "--images", 1],
    }
    return {name: [str(word) for word in words] for name, words in commands.items()}


if __name__ == "__main__":
    sys.exit(main())
