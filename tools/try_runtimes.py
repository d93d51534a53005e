"""The shipped networks' FP32 files in every ONNX Runtime from 1.16 on, beside the newest.

    python -m maskrt.tools.try_runtimes --out FILE.json [--keep DIR] [VERSION ...]

Each version gets an environment of its own, of the newest Python here that has it; old ones need
3.10. There maskrt's own session runs each file on two drawn pictures a network. Exit code 1 where a
file does not open. Downloads some 20 MB for each version.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .try_python import ROOT, make_environment

NETWORKS = ("lsc_mask_rcnn_tiny", "mask_rcnn_fpn_tiny", "fastmask_tiny")
VERSIONS = (
    *("1.16.3", "1.17.3", "1.18.1", "1.19.2", "1.20.1", "1.21.1", "1.22.1", "1.23.2"),
    *("1.24.4", "1.25.1", "1.26.0", "1.27.0", "1.28.0", "1.29.0", "1.30.0", "1.31.1", "1.32.0"),
)
"""The last release of each; the last of them is what the others are compared with."""
TORCHS_IR_VERSION = 10
NEWER_FILE = "newer.onnx"
"""The first network with the IR version that torch's exporter writes."""
LAST_FOR_3_10 = (1, 23)
LAST_FOR_NUMPY_1 = (1, 18)
INSIDE = "--inside"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the record; 1 where a file does not open."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [INSIDE]:
        return _run_files(Path(words[1]), Path(words[2]))
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("versions", nargs="*", metavar="VERSION", default=VERSIONS)
    options.add_argument("--out", type=Path, required=True, help="record to write")
    options.add_argument("--keep", type=Path, help="folder for files and environments")
    arguments = options.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        _make_files(folder)
        rows = [_tried(version, folder) for version in arguments.versions]
        _compare(rows, folder)
        _write_record(arguments.out, rows, folder)
    return int(any(row["failures"] for row in rows))


def _make_files(folder: Path) -> None:
    """NAME.onnx, and NAME.npz with the inputs, of each network; and the package, importable."""
    import onnx

    from ..runtime.pictures.preprocess import place_on_canvas
    from ..train.shapes.scenes import draw_scene
    from ..workflows import export_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "link" / "maskrt"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(ROOT)
    pictures = [draw_scene(np.random.default_rng([16, i])).image for i in range(2)]
    for name in NETWORKS:
        (report,) = export_checkpoint(Path(name), folder / f"{name}.onnx")
        placed = [place_on_canvas([picture], report.contract) for picture in pictures]
        images, sizes = (np.stack(arrays) for arrays in zip(*placed, strict=True))
        np.savez(folder / f"{name}.npz", images=images, sizes=sizes)
    newer = onnx.load(folder / f"{NETWORKS[0]}.onnx")
    newer.ir_version = TORCHS_IR_VERSION
    onnx.save(newer, folder / NEWER_FILE)


def _tried(version: str, folder: Path) -> dict[str, Any]:
    """One version's row: where it ran and which files it did not open."""
    release = tuple(map(int, version.split(".")[:2]))
    python = "3.10" if release <= LAST_FOR_3_10 else ".".join(map(str, sys.version_info[:2]))
    numpy = "numpy<2" if release <= LAST_FOR_NUMPY_1 else "numpy"
    interpreter = make_environment(
        folder / f"onnxruntime-{version}", python, [f"onnxruntime=={version}", numpy]
    )
    outputs = folder / f"outputs-{version}"
    outputs.mkdir(exist_ok=True)
    words = [str(interpreter), "-m", "maskrt.tools.try_runtimes", INSIDE, str(folder), str(outputs)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "link")}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    told = json.loads(lines[-1]) if lines else {"failures": {"": ran.stderr.strip()[-300:]}}
    print(f"onnxruntime {version}, Python {python}: {told}", flush=True)
    return {"onnxruntime": version, "python": python, **told}


def _run_files(folder: Path, outputs: Path) -> int:
    """Inside an environment: run each file, keep its outputs, print what failed as JSON."""
    from ..runtime.errors import MaskRTError
    from ..runtime.sessions.open import open_artefact

    failures = {}
    for name in NETWORKS:
        given = np.load(folder / f"{name}.npz")
        try:
            with open_artefact(folder / f"{name}.onnx") as session:
                found = [session.run(*pair) for pair in zip(*given.values(), strict=True)]
        except MaskRTError as err:
            failures[name] = str(err)
            continue
        stacked: dict[str, Any] = {key: np.stack([x[key] for x in found]) for key in found[0]}
        np.savez(outputs / f"{name}.npz", **stacked)
    print(json.dumps({"failures": failures, "opens_ir_10": _opens(folder / NEWER_FILE)}))
    return 0


def _opens(path: Path) -> bool:
    from ..runtime.errors import MaskRTError
    from ..runtime.sessions.open import open_artefact

    try:
        open_artefact(path).close()
    except MaskRTError:
        return False
    return True


def _compare(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Add each network's largest difference from the last row's outputs."""
    for row in rows:
        row["differences"] = dict(_differences(row, rows[-1], folder))


def _differences(
    row: dict[str, Any], newest: dict[str, Any], folder: Path
) -> Iterator[tuple[str, float]]:
    for name in NETWORKS:
        paths = [folder / f"outputs-{x['onnxruntime']}" / f"{name}.npz" for x in (row, newest)]
        if all(path.exists() for path in paths):
            one, other = map(np.load, paths)
            pairs = [(one[key].astype(np.float64), other[key]) for key in other.files]
            yield name, max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)


def _write_record(path: Path, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    from ..eval.machine.environment import environment
    from ..runtime.files import write_text

    command = "python -m maskrt.tools.try_runtimes"
    here = environment(folder / f"{name}.onnx" for name in NETWORKS)
    record = {"command": command, "environment": here, "rows": rows}
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def titles_and_rows(record: Sequence[dict[str, Any]]) -> tuple[str, list[list[str]]]:
    """A record's rows as a table of `measured`: its titles, separated by `|`, and its cells."""
    names = sorted({name for row in record for name in (*row["differences"], *row["failures"])})
    titles = ["ONNX Runtime", "Python", *names, f"{NETWORKS[0]} as IR {TORCHS_IR_VERSION}"]
    rows = [
        [
            row["onnxruntime"],
            row["python"],
            *(_cell(row, name) for name in names),
            "opens" if row["opens_ir_10"] else "is refused",
        ]
        for row in record
    ]
    return " | ".join(titles), rows


def _cell(row: dict[str, Any], name: str) -> str:
    if name in row["failures"]:
        return "does not open"
    difference = row["differences"][name]
    return f"{difference:.1e}" if difference else "equal"


if __name__ == "__main__":
    sys.exit(main())
