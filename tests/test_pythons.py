"""Which Pythons the package is for: what its sources are written in, what an old one is told."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskrt.engines.doctor import diagnose
from maskrt.runtime.errors import InputError
from maskrt.tools.try_python import find_python

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "workflows", "train", "export", "engines", "runtime", "eval")
# What Python 3.11 and later have beyond 3.10, as far as a package like this one would use it.
NEWER = {
    "typing": {"Self", "Never", "LiteralString", "Required", "NotRequired", "Unpack"}
    | {"assert_never", "assert_type", "reveal_type", "override", "TypeVarTuple"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum"},
    "contextlib": {"chdir"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
    "math": {"cbrt", "exp2", "sumprod"},
    "asyncio": {"TaskGroup", "Runner", "timeout"},
    "builtins": {"ExceptionGroup", "BaseExceptionGroup"},
    "tomllib": {"load", "loads"},
}
TRAINING = (
    *("bisect_precision", "export_checkpoint", "import_checkpoint", "new_checkpoint"),
    *("run_demo", "run_sweep", "search_precision", "train_recipe"),
)


def sources() -> Iterator[Path]:
    return (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def newer_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = {alias.name for alias in node.names}
            yield from (f"{node.module}.{x}" for x in names & NEWER.get(node.module or "", set()))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NEWER.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in NEWER["builtins"]:
            yield node.id


def test_sources_use_nothing_that_python_3_10_lacks() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name in newer_names(ast.parse(path.read_text("utf-8"), feature_version=(3, 10)))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["from typing import Any, Self", "import datetime\nx = datetime.UTC", "raise ExceptionGroup"],
)
def test_a_newer_name_would_be_found(text: str) -> None:
    assert [*newer_names(ast.parse(text))]


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_the_command_line_starts_under_other_pythons(version: str, tmp_path: Path) -> None:
    """With nothing installed; `make test-3.10` runs the tests."""
    try:
        python = find_python(version)
    except InputError as err:
        pytest.skip(str(err))
    (tmp_path / "maskrt").symlink_to(ROOT)
    paths = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for words in (["-m", "maskrt", "--help"], ["-m", "maskrt", "build", "--help"]):
        subprocess.run(
            [python, *words], env={**os.environ, **paths}, check=True, stdout=subprocess.DEVNULL
        )
    code = "import pathlib, sys; [compile(pathlib.Path(p).read_bytes(), p, 'exec')"
    code += " for p in sys.argv[1:]]"
    subprocess.run([python, "-c", code, *map(str, sources())], check=True)


@pytest.fixture
def an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training need a Python that is newer than this one."""
    monkeypatch.setattr("maskrt.runtime.packages.TRAINING_PYTHON", (4, 0))


@pytest.mark.usefixtures("an_old_python")
@pytest.mark.parametrize("name", TRAINING)
def test_training_and_export_name_the_python_they_need(name: str) -> None:
    import maskrt.workflows

    with pytest.raises(InputError, match=r"Python 3\.\d+\.\d+ found; training, export .* 4\.0 or"):
        getattr(maskrt.workflows, name)


@pytest.mark.usefixtures("an_old_python")
def test_a_verb_ends_with_that_sentence(maskrt: Callable[..., Any], tmp_path: Path) -> None:
    ran = maskrt("new", "lsc_mask_rcnn_tiny", "-o", tmp_path / "a.safetensors")
    assert ran.code == 2
    assert "checkpoints need 4.0 or later. Do this with a newer Python" in ran.err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("an_old_python")
def test_a_checkpoint_without_torch_gets_it_instead_of_a_pip_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from maskrt.runtime.packages import packages_named

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"checkpoints need 4\.0"), packages_named("x"):
        import onnxscript  # noqa: F401


@pytest.mark.usefixtures("an_old_python")
def test_doctor_sends_nobody_after_a_torch_that_pip_would_not_bring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name in ("torch", "onnx"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("importlib.metadata.version", version)
    found = {finding.name: finding for finding in diagnose()}
    assert found["python"].ok
    assert found["python"].purpose == "all but training and export"
    assert found["torch"].fix == "Use a newer Python for this"
    assert "pip install" in found["onnx"].fix


@pytest.mark.usefixtures("an_old_python")
def test_what_runs_artefacts_runs_all_the_same(maskrt: Callable[..., Any], chain: Any) -> None:
    assert maskrt("inspect", chain.onnx).code == 0
