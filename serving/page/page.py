"""The page with models inside it: a static folder, which runs them with ONNX Runtime Web.

DIR/index.html, *.css, *.js, *.svg   the files beside this one, the page told where models are
DIR/page.json                        contracts, and the runtime's files with their hashes
DIR/models/NAME.onnx
DIR/runtime/                         with a folder of ONNX Runtime Web; else its address is used
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.files import require_file
from ...runtime.sessions.open import open_artefact
from ...runtime.whole_folder import whole_folder
from .web_runtime import ADDRESS, HOST, copy_runtime, runtime_files

SOURCES = Path(__file__).parent
SUFFIXES = (".html", ".css", ".js", ".svg")
BEHIND, INSIDE = 'data-models="server"', 'data-models="folder"'
ONLY_BEHIND = ("server.js", "runs.js")


@dataclass(frozen=True)
class PageModel:
    """A model in a page."""

    name: str
    path: Path
    contract: Contract


def write_page(
    models: Sequence[Path], out: Path, runtime: Path | None = None
) -> tuple[PageModel, ...]:
    """Write the folder.

    Args:
        models: ONNX files of maskrt's, in the order in which the page offers them.
        out: the folder, made where it is not there.
        runtime: holds ONNX Runtime Web's files, as npm installs them in `dist`; they are copied, so
            that the page needs no network. None: the page takes them from their public address.

    Raises:
        InputError: no such file or none of maskrt's, two of one name, another version's runtime, or
            a folder that cannot be written.
        SessionError: a file that ONNX Runtime cannot open.
    """
    found = [_model(path) for path in models]
    names = [model.name for model in found]
    for model in found:
        if names.count(model.name) > 1:
            raise InputError(
                f"{model.path}: another model is called '{model.name}' too; expected different "
                "names. Rename one of the files."
            )
    with whole_folder(out) as folder:
        _write(found, folder, runtime)
    return tuple(found)


def _model(path: Path) -> PageModel:
    require_file(path, "what a browser runs", (".onnx",))
    with open_artefact(path, "onnxruntime-cpu") as session:
        contract = session.contract
    return PageModel(re.sub(r"[^\w.-]+", "-", path.stem), path, contract)


def _write(models: Sequence[PageModel], folder: Path, runtime: Path | None) -> None:
    for path in page_sources():
        if path.name not in ONLY_BEHIND:
            shutil.copyfile(path, folder / path.name)
    (folder / "models").mkdir()
    for model in models:
        shutil.copyfile(model.path, folder / _file(model))
    if runtime is not None:
        copy_runtime(runtime, folder / "runtime")
    page = {
        "models": [_entry(model) for model in models],
        "runtime": runtime_files(ADDRESS if runtime is None else "runtime/"),
    }
    (folder / "page.json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
    index = (folder / "index.html").read_text(encoding="utf-8")
    (folder / "index.html").write_text(_inside(index, runtime is None), encoding="utf-8")


def page_sources() -> list[Path]:
    """The page's files as they are installed."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in SUFFIXES)


def _file(model: PageModel) -> str:
    return f"models/{model.name}.onnx"


def _entry(model: PageModel) -> Mapping[str, Any]:
    return {
        "name": model.name,
        "file": _file(model),
        "contract": json.loads(model.contract.to_json()),
    }


def _inside(index: str, online: bool) -> str:
    """The page told that its models are beside it, and that it talks to nobody else."""
    elsewhere = f" {HOST}" if online else ""
    policy = (
        "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; "
        f"script-src 'self' blob: 'wasm-unsafe-eval'; connect-src 'self' blob:{elsewhere}"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    charset = '<meta charset="utf-8">'
    return index.replace(BEHIND, INSIDE).replace(charset, f"{charset}\n    {meta}")
