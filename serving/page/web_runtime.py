"""ONNX Runtime Web as the page takes it: one version, and the hash of each file of it.

The hashes are of the files in npm's package, which jsDelivr serves as they are. A browser refuses a
file that has another.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
HOST = "https://cdn.jsdelivr.net"
ADDRESS = f"{HOST}/npm/{PACKAGE}/dist/"

FILES = {
    "webgpu": {
        "script": (
            "ort.webgpu.bundle.min.mjs",
            "sha384-1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f",
        ),
        "binary": (
            "ort-wasm-simd-threaded.asyncify.wasm",
            "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
        ),
    },
    "wasm": {
        "script": (
            "ort.wasm.bundle.min.mjs",
            "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
        ),
        "binary": (
            "ort-wasm-simd-threaded.wasm",
            "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
        ),
    },
}
"""By what it runs on; a browser loads one of the two pairs: 27 MB with WebGPU, 14 MB without."""


def runtime_files(folder: str) -> dict[str, Any]:
    """What the page is told: where the files are, names and hashes."""
    pairs = {
        device: {
            kind: {"name": name, "integrity": integrity} for kind, (name, integrity) in pair.items()
        }
        for device, pair in FILES.items()
    }
    return {"version": VERSION, "folder": folder, **pairs}


def copy_runtime(source: Path, target: Path) -> None:
    """Copy the four files.

    Raises:
        InputError: one is missing or of another version.
    """
    target.mkdir()
    for name, integrity in (entry for pair in FILES.values() for entry in pair.values()):
        path = source / name
        if not path.is_file() or integrity_of(path) != integrity:
            found = "of another version" if path.is_file() else "no such file"
            raise InputError(
                f"{path}: {found}; expected a file of {PACKAGE}. Run npm install {PACKAGE} and "
                "give --runtime node_modules/onnxruntime-web/dist."
            )
        shutil.copyfile(path, target / name)


def integrity_of(path: Path) -> str:
    """A file's hash as browsers take it."""
    digest = hashlib.sha384(path.read_bytes()).digest()
    return f"sha384-{base64.b64encode(digest).decode()}"
