"""Which folder may import which, read from the source, and what importing really loads."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "export": {"export", "train", "runtime"},
    "train": {"train", "eval", "runtime"},
    "engines": {"engines", "runtime"},
    "eval": {"eval", "runtime"},
    "runtime": {"runtime"},
}
NEVER = {
    "runtime": {"torch", "onnx", "onnxscript", "safetensors", "torchvision", "tensorboard"},
    "engines": {"torch", "torchvision", "onnxscript", "safetensors"},
    "eval": {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "safetensors"},
    "train": {"onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda"},
    "export": {"tensorrt", "tensorrt_rtx", "cuda"},
}
# OpenVINO reads no model-local functions, so its session alone needs onnx, to inline them.
EXCEPT = {"runtime/openvino_session.py": {"onnx"}}
# `maskrt inspect`, `doctor` and errors must answer before anything heavy is loaded.
LOADED_BY = {
    "maskrt": set(),
    "maskrt.cli.main": set(),
    "maskrt.runtime": {"numpy"},
    "maskrt.engines": set(),
    "maskrt.export": set(),
    "maskrt.train": set(),
    "maskrt.eval": {"numpy"},
}

SOURCES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in SOURCES]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, dotted module) of every import statement, and of modules imported by their name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inner = [
                f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names
            ]
            yield from ((node.level, name) for name in inner)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((0, n.value) for n in ast.walk(node) if isinstance(n, ast.Constant))


def first(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_across_folders_point_one_way(path: Path) -> None:
    folder, depth = path.relative_to(ROOT).parts[0], len(path.relative_to(ROOT).parts)
    across = {first(module) for level, module in imports(path) if level == depth}
    assert across <= MAY_IMPORT[folder]
    assert all(level <= depth for level, _ in imports(path))


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_folders_stay_clear_of_what_is_not_theirs(path: Path) -> None:
    place = path.relative_to(ROOT)
    never = NEVER[place.parts[0]] - EXCEPT.get(place.as_posix(), set())
    assert not {first(module) for level, module in imports(path) if not level} & never


@pytest.mark.parametrize(
    "path",
    [*SOURCES, *sorted(ROOT.glob("*.py"))],
    ids=[*IDS, *(p.name for p in sorted(ROOT.glob("*.py")))],
)
def test_our_own_modules_are_imported_relatively(path: Path) -> None:
    absolute = {first(module) for level, module in imports(path) if not level}
    assert not absolute & {"maskrt", *MAY_IMPORT}  # a bare `import runtime` is a second copy


def test_the_scan_sees_imports_of_every_form(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "import torch.nn\nfrom ..eval import parity\nfrom . import rle\n"
        "def f():\n    from ...x.y import z\n    importlib.import_module('onnx')\n"
    )
    expected = {(0, "torch.nn"), (2, "eval.parity"), (1, "rle"), (3, "x.y.z"), (0, "onnx")}
    assert set(imports(path)) == expected


def test_every_folder_has_sources() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", LOADED_BY)
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = (
        "import json, sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout)) - sys.stdlib_module_names
    # an editable install's own finder counts as ours
    assert {name for name in loaded if "maskrt" not in name} == LOADED_BY[module]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom maskrt.cli.main import main\n"
        "try:\n    main(['train', '--help'])\n"
        "except SystemExit as err:\n    print(err.code, {'numpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"
