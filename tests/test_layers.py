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
    "cli": {"cli", "workflows", "eval", "runtime"},
    "workflows": {"workflows", "train", "export", "engines", "eval", "serving", "runtime"},
    "export": {"export", "train", "runtime"},
    "train": {"train", "eval", "runtime"},
    "engines": {"engines", "runtime"},
    "eval": {"eval", "runtime"},
    "serving": {"serving", "runtime"},
    "runtime": {"runtime"},
    "tools": {
        *("tools", "cli", "workflows", "train", "export", "engines", "eval", "serving", "runtime"),
    },
}
RUNTIME_ORDER = [
    *(
        {"errors", "files", "whole_folder", "closing", "packages", "json_values"},
        {"contract"},
        {"sidecar", "bundle", "bundle_folder"},
        {"results"},
        {"pictures"},
        {"gpu"},
    ),
    *({"sessions"}, {"predictor"}, {"bundle_predictor", "tiles"}),
]
"""Inside `runtime` imports point to the left."""
NEVER = {
    "cli": {"torch", "onnx", "onnxruntime", "numpy"},
    "workflows": {"argparse"},
    "runtime": {"torch", "onnx", "onnxscript", "safetensors", "torchvision", "tensorboard"},
    "engines": {"torch", "torchvision", "onnxscript", "safetensors"},
    "eval": {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "safetensors"},
    "serving": {"torch", "torchvision", "onnxscript", "safetensors"},
    "train": {"onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda"},
    "export": {"tensorrt", "tensorrt_rtx", "cuda"},
    "tools": set(),
}
# OpenVINO and TensorRT's refitter read no model-local functions: for them onnx inlines these.
INTEGERS = "runtime/sessions/integers"
EXCEPT = {
    place: {"onnx"}
    for place in (
        "runtime/sessions/inlined.py",
        "runtime/sessions/openvino_graph.py",
        *(f"{INTEGERS}/{name}.py" for name in ("form", "plan", "session", "widened")),
    )
}
# `maskrt inspect`, `doctor` and errors must answer before anything heavy is loaded.
LOADED_BY = {
    "maskrt": set(),
    "maskrt.cli.main": set(),
    "maskrt.workflows": set(),
    "maskrt.runtime": {"numpy"},
    "maskrt.engines": set(),
    "maskrt.export": set(),
    "maskrt.train": set(),
    "maskrt.eval": {"numpy"},
    "maskrt.serving": set(),
}

SOURCES = {
    path.relative_to(ROOT): path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")
}


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


def ours(place: Path, level: int, module: str) -> list[str]:
    """A relative import as parts from the root, e.g. ["runtime", "gpu", "cuda"]."""
    return [*place.parts[: len(place.parts) - level], *module.split(".")]


def modules_of(place: Path) -> set[str]:
    """The modules of ours, dotted, that a module imports anywhere but for its types."""
    tree = ast.parse(SOURCES[place].read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _for_types(node)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                parts = ours(place, node.level, node.module or "") if node.module else list(
                    place.parts[: len(place.parts) - node.level]
                )  # fmt: skip
                both = (".".join([*parts, alias.name]), ".".join(parts))
                found |= {name for name in both if name in MODULES}
    return found


def _for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def dotted(place: Path) -> str:
    return ".".join(place.with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(place): place for place in SOURCES}


def test_imports_across_folders_point_one_way() -> None:
    offenders = []
    for place, path in SOURCES.items():
        for level, module in imports(path):
            across = level == len(place.parts)
            if level > len(place.parts) or (
                across and module.split(".")[0] not in MAY_IMPORT[place.parts[0]]
            ):
                offenders.append(f"{place}: {module}")
    # `from .. import __version__` of the root is everyone's
    assert [text for text in offenders if not text.endswith(": __version__")] == []


def test_imports_inside_runtime_point_one_way() -> None:
    rank = {name: index for index, names in enumerate(RUNTIME_ORDER) for name in names}
    offenders = []
    for place, path in SOURCES.items():
        if place.parts[0] != "runtime" or place.name == "__init__.py":
            continue
        here = rank[Path(place.parts[1]).stem]
        for level, module in imports(path):
            parts = ours(place, level, module) if level else []
            if parts[:1] == ["runtime"] and rank[parts[1]] > here:
                offenders.append(f"{place}: {'.'.join(parts)}")
    assert offenders == []


def test_folders_stay_clear_of_what_is_not_theirs() -> None:
    offenders = []
    for place, path in SOURCES.items():
        never = NEVER[place.parts[0]] - EXCEPT.get(place.as_posix(), set())
        named = {module.split(".")[0] for level, module in imports(path) if not level}
        # a bare `import runtime` would be a second copy
        offenders += [f"{place}: {name}" for name in named & {*never, *MAY_IMPORT}]
        if place.parts[0] != "tools" and "maskrt" in named:
            offenders.append(f"{place}: maskrt, not relatively")
    assert offenders == []


def test_no_module_imports_itself_in_a_circle() -> None:
    left = {name: modules_of(place) for name, place in MODULES.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys() - {name}]:
        for name in free:
            del left[name]
    assert left == {}


def test_folders_and_files_stay_small() -> None:
    long = [str(p) for p, path in SOURCES.items() if len(path.read_text().splitlines()) > 350]
    folders = {place.parent for place in SOURCES}
    full = [str(f) for f in folders if sum(p.parent == f for p in SOURCES) > 15]
    assert (long, full) == ([], [])
    assert [p.name for p in sorted(ROOT.glob("*.py"))] == ["__init__.py", "__main__.py"]


def test_the_scans_see_imports_of_every_form(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "import torch.nn\nfrom ..eval import parity\nfrom . import rle\n"
        "def f():\n    from ...x.y import z\n    importlib.import_module('onnx')\n"
    )
    expected = {(0, "torch.nn"), (2, "eval.parity"), (1, "rle"), (3, "x.y.z"), (0, "onnx")}
    assert set(imports(path)) == expected
    assert "runtime.errors" in modules_of(Path("runtime/contract.py"))
    assert {place.parts[0] for place in SOURCES} == set(MAY_IMPORT)


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
