"""What pyproject.toml says is what is on disk."""

import ast
import fnmatch
import importlib
import importlib.metadata
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import maskrt

ROOT = Path(__file__).parents[1]
FOLDERS = ("train", "export", "engines", "runtime", "eval")
# What a wheel does not need: measured results are read from the repository only.
NOT_SHIPPED = {"records"}
# Only ever imported relatively, and named so by the house style; its folder is never a script's.
ALLOWED_SHADOWS = {"runtime/cuda.py"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_files(pattern: str) -> list[Path]:
    found = [
        path for folder in FOLDERS for path in (ROOT / folder).rglob(pattern) if path.is_file()
    ]
    return [path for path in found if "__pycache__" not in path.parts]


def test_packages_listed_are_packages_on_disk(project: dict[str, Any]) -> None:
    inits = [path.parent.relative_to(ROOT) for path in package_files("__init__.py")]
    on_disk = {"maskrt", *("maskrt." + ".".join(folder.parts) for folder in inits)}
    assert set(project["tool"]["setuptools"]["packages"]) == on_disk
    assert project["tool"]["setuptools"]["package-dir"] == {"maskrt": "."}


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in package_files("*.py")}
    assert {ROOT / folder for folder in FOLDERS} <= folders
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_type_checkers_are_told_the_same_packages(project: dict[str, Any]) -> None:
    assert {f"maskrt.{folder}" for folder in FOLDERS} <= set(project["tool"]["mypy"]["packages"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_types_are_shipped(folder: str, project: dict[str, Any]) -> None:
    assert (ROOT / folder / "py.typed").is_file()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["*"]


def test_every_file_that_is_no_module_is_package_data(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    left_out = []
    for path in package_files("*"):
        inside = path.relative_to(ROOT).parts[1:]
        if path.suffix == ".py" or NOT_SHIPPED & set(inside):
            continue
        if not any(fnmatch.fnmatch("/".join(inside), pattern) for pattern in patterns):
            left_out.append(str(path.relative_to(ROOT)))
    assert not left_out


def test_recipes_are_package_data() -> None:
    assert len(package_files("*.yaml")) >= 5
    assert all(
        path.parent == ROOT / "train" / "recipes" for path in package_files("recipes/*.yaml")
    )


def imported() -> set[str]:
    """First names of every absolute import of the project."""
    names = set()
    for path in (*package_files("*.py"), *ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names


def test_no_module_shadows_one_that_is_imported() -> None:
    taken = imported() | set(sys.stdlib_module_names)
    assert {"torch", "numpy", "json"} <= taken
    modules = [
        path for path in (*package_files("*.py"), *ROOT.glob("*.py")) if path.stem != "__init__"
    ]
    shadows = {str(path.relative_to(ROOT)) for path in modules if path.stem in taken}
    assert shadows <= ALLOWED_SHADOWS
    assert not taken & set(FOLDERS)


def test_the_version_is_one(project: dict[str, Any]) -> None:
    assert maskrt.__version__ == project["project"]["version"]
    assert importlib.metadata.version("maskrt") == maskrt.__version__


def test_the_command_exists(project: dict[str, Any]) -> None:
    module, _, function = project["project"]["scripts"]["maskrt"].partition(":")
    assert module == "maskrt.cli.main"
    from maskrt.cli import main as cli

    assert callable(getattr(cli, function))


@pytest.mark.parametrize(
    "path",
    [ROOT / folder / "__init__.py" for folder in ("", *FOLDERS)],
    ids=["maskrt", *FOLDERS],
)
def test_exported_names_are_sorted_and_exist(path: Path) -> None:
    module = importlib.import_module(".".join(["maskrt", *path.parent.relative_to(ROOT).parts]))
    names = getattr(module, "__all__", [])
    assert (
        sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)) == names
    )
    assert all(hasattr(module, name) for name in names)
