"""What pyproject.toml says is what is on disk, and what is on disk is what a wheel holds."""

import ast
import fnmatch
import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import maskrt

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "workflows", "train", "export", "engines", "runtime", "eval", "serving")
# What a wheel does not need: measured results are read from the repository only.
NOT_SHIPPED = {"records"}
# Only ever imported relatively, and named so by the house style; its folder is never a script's.
ALLOWED_SHADOWS = {"runtime/gpu/cuda.py"}
PUBLIC = {
    "maskrt": {"InputError", "Instances", "Predictor", "__version__", "load", "read_image"},
    "maskrt.workflows": {
        *("OPERATOR_OPTIONS", "bench_models", "bench_operators", "bisect_precision"),
        *("DataSource", "build_bundle", "build_engine", "diagnose", "draw_data", "evaluate"),
        "export_checkpoint",
        *("import_checkpoint", "inspect_file", "load", "load_data", "new_checkpoint"),
        *("check_data", "predict_files", "run_demo", "run_sweep", "show_data"),
        *("search_precision", "train_recipe"),
    },
    "maskrt.runtime": {
        *("BuildError", "ConfigError", "Contract", "ContractError", "ExportError", "GateError"),
        *("InputError", "Instances", "MaskRTError", "Predictor", "ResizeRule", "Session"),
        *("SessionError", "TensorSpec", "check_inputs", "contract_from_json"),
        *("instances_from_outputs", "open_artefact", "paste_masks", "paste_one"),
        *("place_on_canvas", "read_image", "rle_from_crop", "scaled_size_hw"),
    },
    "maskrt.eval": {
        *("AP_NAMES", "AR_NAMES", "Accuracy", "Bench", "BenchOptions", "Candidate", "CocoData"),
        *("Hop", "Measurement", "Parity", "Prediction", "Report", "Table", "bench"),
        *("check_gates", "coco_ap", "coco_ar", "compare", "compare_runs", "environment"),
        *("hop_between", "load_coco", "measure", "measure_throughput", "predict_data"),
        *("print_table", "quick_options", "write_report"),
    },
}
"""The front door and the folders that are used as libraries: these names stay."""


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
    folders = {path.parent for path in package_files("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    assert {f"maskrt.{folder}" for folder in FOLDERS} <= set(project["tool"]["mypy"]["packages"])


def test_every_file_that_is_no_module_is_package_data(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    left_out = []
    for path in package_files("*"):
        parts = path.relative_to(ROOT).parts
        if path.suffix == ".py" or NOT_SHIPPED & set(parts):
            continue
        # a pattern counts from the package that holds it
        tails = ["/".join(parts[start:]) for start in range(1, len(parts))]
        if not any(fnmatch.fnmatch(tail, pattern) for tail in tails[-2:] for pattern in patterns):
            left_out.append("/".join(parts))
    assert not left_out


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
    modules = [path for path in package_files("*.py") if path.stem != "__init__"]
    shadows = {str(path.relative_to(ROOT)) for path in modules if path.stem in taken}
    assert shadows <= ALLOWED_SHADOWS
    assert not taken & set(FOLDERS)


def test_the_version_is_one(project: dict[str, Any]) -> None:
    assert maskrt.__version__ == project["project"]["version"]
    assert importlib.metadata.version("maskrt") == maskrt.__version__


def expanded(extras: dict[str, list[str]], name: str) -> list[str]:
    """What an extra asks for, extras of ours among it opened."""
    found = []
    for requirement in extras[name]:
        own = re.fullmatch(r"maskrt\[([\w,-]+)\]", requirement)
        inner = [expanded(extras, each) for each in own[1].split(",")] if own else [[requirement]]
        found += [each for part in inner for each in part]
    return found


def test_no_extra_brings_two_onnxruntimes_and_cuda_comes_with_its_libraries(
    project: dict[str, Any],
) -> None:
    """They write the same folder; CUDA's provider links libraries that pip leaves out unasked."""
    extras = project["project"]["optional-dependencies"]
    for name in extras:
        asked = [re.split(r"[><=]", each)[0] for each in expanded(extras, name)]
        kinds = {each.partition("[")[0] for each in asked if each.startswith("onnxruntime")}
        assert len(kinds) < 2, name
        assert "onnxruntime-gpu" not in kinds or "onnxruntime-gpu[cuda,cudnn]" in asked


def test_what_the_environment_pins_leaves_torch_its_triton() -> None:
    """A CUDA build of torch asks for the Triton that its compiler was tested with."""
    assert not re.search("^triton", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    made = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = extras["optional-dependencies"]["kernels"]
    assert re.search(rf"pip show --quiet triton .*\|\|.*\n.*{re.escape(pinned)}", made)


def test_a_package_with_an_invalid_escape_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorRT's where pip did not compile it: our filters would make it a SyntaxError."""
    (tmp_path / "uncompiled_escape.py").write_text('pattern = "\\d"\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("uncompiled_escape").pattern == r"\d"


def test_the_command_exists(project: dict[str, Any]) -> None:
    module, _, function = project["project"]["scripts"]["maskrt"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_there(name: str) -> None:
    module = importlib.import_module(name)
    names = module.__all__
    assert PUBLIC[name] <= set(names)
    assert all(hasattr(module, each) for each in names)
    assert len(set(names)) == len(names)
    order = sorted(names, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
    assert order == names
    with pytest.raises(AttributeError):
        module.misspelt  # noqa: B018


@pytest.mark.slow
def test_a_wheel_alone_predicts(chain: Any, tmp_path: Path) -> None:
    """Built from the files that git knows, unpacked, and run from there instead of the checkout."""
    source, site = tmp_path / "source", tmp_path / "site"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = archive.namelist()
    assert "maskrt/py.typed" in names
    assert any(name.startswith("maskrt/train/recipes/") and ".yaml" in name for name in names)
    assert any(name.endswith(".ptx") for name in names)
    assert "maskrt/eval/report/templates/report.html" in names
    assert not [name for name in names if "/records/" in name or name.startswith("tests")]
    picture = next(iter(chain.data.glob("val/*")))
    code = f"""if True:
        import sys
        sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
        sys.path.insert(0, {str(site)!r})
        import maskrt
        from pathlib import Path
        folder = Path(maskrt.__file__).parent
        assert folder.is_relative_to({str(site)!r}), folder
        from maskrt.engines.plugins import choice
        from maskrt.train.recipes.recipe import load_recipe
        load_recipe("lsc_mask_rcnn_r50_512")
        shipped = folder / "train" / "checkpoints" / "lsc_mask_rcnn_tiny.safetensors"
        with maskrt.load(shipped) as model:
            (found,) = model.predict([maskrt.read_image({str(picture)!r})])
        print(len(found))
    """
    words = [sys.executable, "-c", code]
    ran = subprocess.run(words, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0
