"""`maskrt triton`: a model as NVIDIA Triton, or DeepStream, takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...arguments import Arguments, Result, add_verb, canvases


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "triton", "a model repository for NVIDIA Triton", run)
    sub.add_argument("model", type=Path, help=".onnx, .engine or a bundle's folder")
    sub.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="the repository")
    sub.add_argument("--name", help="of the model there (the file's own)")
    sub.add_argument(
        "--deepstream",
        type=canvases,
        metavar="HxW",
        help="instead: a folder for DeepStream and frames of this size, from an engine",
    )


def run(arguments: Arguments) -> Result:
    """Write the folder and say what its server must have."""
    from ....workflows import triton_repository

    if arguments.deepstream is not None:
        return _deepstream(arguments)
    models = triton_repository(arguments.model, arguments.out, arguments.name)
    for made in models:
        print(f"{made.file}: for {made.needs}")
    print(f"tritonserver --model-repository {arguments.out.resolve()}")
    print(f"maskrt predict {models[0].name} SOURCE --server http://127.0.0.1:8000 --out DIR")
    return {"models": {made.name: str(made.file) for made in models}}


def _deepstream(arguments: Arguments) -> Result:
    from ....runtime.errors import InputError
    from ....workflows import deepstream_folder

    sizes = arguments.deepstream
    if isinstance(sizes, str) or len(sizes) != 1 or min(sizes[0]) < 1:
        raise InputError("--deepstream: expected one size of frames, as 1080x1920. Correct it.")
    deepstream_folder(arguments.model, arguments.out, sizes[0])
    print(f"{arguments.out}: parser.cpp says how it is compiled; it was never run in DeepStream")
    return {"out": str(arguments.out)}
