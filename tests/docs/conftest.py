"""The documentation as text, and a folder in which its commands and snippets really run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from maskrt.cli.main import main
from maskrt.runtime.sidecar import sidecar_path

from ..conftest import Chain

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "reference")
GENERATED = {"commands.md", "python.md", "errors.md"}
"""In docs/reference, once the documentation is built."""


def fences(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Every `maskrt VERB ...` line of the shell fences, as words without what is a comment."""
    lines = "".join(fences(text, "sh")).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("maskrt ")]


@pytest.fixture(scope="session")
def after_demo(tmp_path_factory: pytest.TempPathFactory, chain: Chain) -> Path:
    """A clone's folder as `make demo` leaves it, with three pictures and an engine of `chain`."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "train").symlink_to(ROOT / "train")
    demo = folder / "out" / "demo"
    demo.mkdir(parents=True)
    for data in (demo / "shapes-60", folder / "out" / "shapes"):
        data.symlink_to(chain.data)
    checkpoint = ROOT / "train" / "checkpoints" / "lsc_mask_rcnn_tiny.safetensors"
    onnx, engine = (demo / f"lsc_mask_rcnn_tiny-{end}" for end in ("fp32.onnx", "fp16.engine"))
    assert main(["export", str(checkpoint), "-o", str(onnx)]) == 0
    for path, made in ((engine, chain.engine), (sidecar_path(engine), sidecar_path(chain.engine))):
        path.symlink_to(made)
    return folder
