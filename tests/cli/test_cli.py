"""Every verb once on good input, and what it promises: files, exit code 0, JSON last."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maskrt as package
from maskrt.cli.main import VERBS, main
from maskrt.cli.verbs import doctor

Run = Callable[..., Any]
Copy = Callable[[Path, Path, Callable[[dict[str, Any]], None]], Path]
SHIPPED = Path(package.__file__).parent / "train" / "checkpoints" / "lsc_mask_rcnn_tiny.safetensors"


def one_weight_of_the_backbone(tensors: dict[str, Any]) -> None:
    """One number of some hundred thousand."""
    name = next(key for key in tensors if key.startswith("backbone.") and tensors[key].ndim == 4)
    tensors[name].view(-1)[0] += 10.0


def test_data_draws_what_was_asked_for(maskrt: Run, tmp_path: Path) -> None:
    out = tmp_path / "shapes"
    ran = maskrt("data", "shapes", "--out", out, "--images", 2, "--val-images", 1, "--json")
    assert (ran.code, ran.json) == (0, {"out": str(out)})
    assert len(list((out / "train").iterdir())) == 2
    assert len(list((out / "val").iterdir())) == 1


def test_new_writes_weights_and_their_resolved_recipe(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "net.safetensors"
    ran = maskrt("new", *chain.recipe, "-o", path, "--json")
    assert (ran.code, ran.json) == (0, {"checkpoint": str(path)})
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.safetensors", "net.yaml"]
    assert "backbone_channels: 16" in path.with_suffix(".yaml").read_text()


def test_new_takes_the_backbone_of_another_checkpoint(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    from maskrt.train.weights.tensors import load_tensors

    path = tmp_path / "net.safetensors"
    ran = maskrt("new", *chain.recipe, "solver.seed=1", "--backbone", chain.checkpoint, "-o", path)
    assert ran.code == 0, ran.err
    given, taken = load_tensors(chain.checkpoint)[0], load_tensors(path)[0]
    same = {key for key in given if given[key].equal(taken[key])}
    assert {key for key in given if key.startswith("backbone.")} <= same
    assert same != set(given)


def test_new_takes_what_fits_and_says_so(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    path, weights = tmp_path / "net.safetensors", ("--weights", chain.checkpoint)
    ran = maskrt("new", *chain.recipe, "classes=star,ufo", *weights, "-o", path)
    assert ran.code == 0, ran.err
    assert f"weights of {chain.checkpoint.name} (" in ran.err
    assert "; star known by name, ufo from the average of theirs" in ran.err
    ran = maskrt("new", *chain.recipe, *weights, "--backbone", chain.checkpoint, "-o", path)
    assert ran.code == 2
    assert "not allowed with argument --weights" in ran.err


@pytest.mark.parametrize("words", [(), ("--backbone", "net.safetensors")])
def test_new_replaces_nothing_unasked(
    maskrt: Run, chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.safetensors", "net.yaml"):
        shutil.copy(chain.checkpoint.with_name(name), name)
    weights, recipe = Path("net.safetensors").read_bytes(), Path("net.yaml").read_bytes()
    command = ("new", "net.yaml", "solver.seed=1", *words, "-o", "net.safetensors")
    ran = maskrt(*command)
    assert ran.code == 2
    assert "net.safetensors: is there already; expected a new file" in ran.err
    assert (Path("net.safetensors").read_bytes(), Path("net.yaml").read_bytes()) == (
        weights,
        recipe,
    )
    Path("net.safetensors").unlink()  # the recipe is somebody's work too
    if not words:
        assert "net.yaml: is there already" in maskrt(*command).err
    Path("net.safetensors").write_bytes(weights)
    assert maskrt(*command, "--overwrite").code == 0
    assert Path("net.safetensors").read_bytes() != weights


def test_import_turns_published_weights_into_a_checkpoint(
    maskrt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    from maskrt.train.networks.mask_rcnn import MaskRCNN
    from maskrt.train.recipes.recipe import load_recipe
    from maskrt.train.weights import import_weights
    from maskrt.train.weights.detectron2.layout import detectron2_name

    # ResNet-50's blocks at a sixteenth of their width.
    recipe = tmp_path / "narrow.yaml"
    recipe.write_text(
        "name: narrow\nmodel: {stem_channels: 4, backbone_channels: 16, mask_channels: 4}\n"
    )
    monkeypatch.setattr(import_weights, "RECIPE", str(recipe))
    state = MaskRCNN(load_recipe(recipe)).state_dict()
    weights = {detectron2_name(k): v.numpy() for k, v in state.items()}
    file, path = tmp_path / "model_final.pkl", tmp_path / "out.safetensors"
    file.write_bytes(pickle.dumps({"model": weights}))
    ran = maskrt("import", file, "--format", "detectron2", "-o", path, "--json")
    assert (ran.code, ran.json) == (0, {"checkpoint": str(path)}), ran.err
    assert "imported from model_final.pkl (Detectron2" in maskrt("inspect", path).out
    facts = maskrt("inspect", path, "--json").json
    assert facts["imported"]["file"] == "model_final.pkl"
    # neither the weights nor a recipe are replaced unasked
    words = ("import", file, "--format", "detectron2", "-o", path)
    before = path.read_bytes()
    for _ in range(2):
        again = maskrt(*words)
        assert again.code == 2
        assert "is there already; expected a new file" in again.err
        path.unlink(missing_ok=True)
    config = tmp_path / "config.yaml"
    config.write_text("MODEL: {PIXEL_MEAN: [1, 2, 3]}\n")
    settings = ("--config", config, "--classes", ",".join(map(str, range(80))))
    ran = maskrt(*words, "--overwrite", *settings)
    assert ran.code == 0, ran.err
    assert "80 classes (yours); config.yaml sets input.mean" in ran.out
    assert path.read_bytes() != before


def test_train_leaves_a_measured_checkpoint_that_resumes(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    words = ("train", *chain.recipe, "--data", chain.data, "--out", tmp_path / "run")
    ran = maskrt(*words, "--workers", 0, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["checkpoint"] == str(tmp_path / "run" / "model.safetensors")
    facts = maskrt("inspect", ran.json["checkpoint"], "--json").json
    assert facts["steps"] == 2
    assert facts["measured"] == {key: ran.json[key] for key in ("box_ap", "mask_ap")}
    other = maskrt(*words, "--workers", 0, "--resume", "solver.lr=0.5")
    assert other.code == 2
    assert (
        "resume.safetensors: a run with solver.lr=0.04; found 0.5. Resume without it" in other.err
    )
    again = ("train", chain.recipe[0], *words[-4:])  # without its overrides
    longer = maskrt(*again, "--workers", 0, "--resume", "solver.steps=3", "--json")
    assert longer.code == 0, longer.err
    assert maskrt("inspect", longer.json["checkpoint"], "--json").json["steps"] == 3


def test_export_and_build_report_what_they_made(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    onnx, engine = tmp_path / "a.onnx", tmp_path / "a.engine"
    ran = maskrt(
        "export", chain.checkpoint, "-o", onnx, "--canvas", "48x80", "--batch", 2, "--json"
    )
    assert ran.code == 0, ran.err
    assert ran.json["onnx"] == str(onnx)
    contract = maskrt("inspect", onnx, "--json").json["contract"]
    assert (contract["canvas_hw"], contract["batch"]) == ([48, 80], 2)
    built = maskrt("build", onnx, "-o", engine, "--json")
    assert built.code == 0, built.err
    assert built.json == {"engine": str(engine), "sidecar": f"{engine}.json"}
    assert json.loads(Path(built.json["sidecar"]).read_text())["contract"] == contract


@pytest.mark.parametrize("kind", ["checkpoint", "onnx", "onnx_fp16"])
def test_predict_writes_overlays_and_results(
    maskrt: Run, chain: Any, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    ran = maskrt("predict", getattr(chain, kind), chain.data / "val", "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["pictures"] == 3
    assert ran.json["results"] == str(out / "results.json")
    names = [f"{n:06d}.jpg" for n in (1, 2, 3)]
    assert sorted(p.name for p in out.iterdir()) == [*names, "results.json"]


def test_a_model_compared_with_itself_passes_the_gate(maskrt: Run, chain: Any) -> None:
    ran = maskrt("eval", SHIPPED, "--data", chain.data, "--against", SHIPPED, "--json")
    assert ran.code == 0, ran.out
    assert ran.json["failures"] == []
    assert ran.json["parity"]["reference_counted"] > 0


def test_a_comparison_of_nothing_does_not_pass(maskrt: Run, chain: Any) -> None:
    ran = maskrt("eval", chain.onnx, "--data", chain.data, "--against", chain.onnx, "--json")
    assert ran.code == 1
    assert "gate failed: no instance scored" in ran.out


def test_eval_measures_box_and_mask_ap(maskrt: Run, chain: Any) -> None:
    words = ("--data", chain.data, "--first", 2, "--boundary", "--json")
    ran = maskrt("eval", chain.onnx, *words)
    assert ran.code == 0, ran.err
    assert set(ran.json) == {"box", "mask", "boundary", "evaluator", "headroom", "lost"}
    assert ran.json["headroom"] is None
    assert 0 <= ran.json["box"]["AP"] < 1


def test_eval_and_export_of_fp16_name_the_fullest_tensors(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    words = ("eval", chain.onnx_fp16, "--data", chain.data, "--first", 2, "--json")
    measured = maskrt(*words).json["headroom"]
    assert measured["pictures"] == 2
    picture = chain.data / "val" / "000001.jpg"
    ran = maskrt(
        *("export", chain.checkpoint, "-o", tmp_path / "a.onnx", "--precision", "fp16"),
        *("--pictures", chain.data / "val", picture, "--json"),
    )
    assert ran.code == 0, ran.err
    assert (ran.json["pictures"], ran.json["headroom"]["pictures"]) == (4, 4)
    for found in (measured, ran.json["headroom"]):
        shares = [peak["share"] for peak in found["worst"]]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert 0 < shares[0] < 1
    assert f"FP16 headroom, largest |x| / 65504 on 4 pictures: {found['worst'][0]['name']}" in (
        ran.out
    )


def test_export_says_that_nothing_was_compared(
    maskrt: Run, chain: Any, tmp_path: Path, changed_copy: Copy
) -> None:
    def blank(tensors: dict[str, Any]) -> None:
        tensors["box_predictor.cls_score.bias"][-1] += 50  # background

    none = changed_copy(chain.checkpoint, tmp_path / "none.safetensors", blank)
    ran = maskrt("export", none, "-o", tmp_path / "none.onnx", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["asked"], ran.json["found"]) == (0, 0)
    assert "finds instances on 1 picture, so 0 of 0 were compared" in ran.out


def test_one_broken_weight_fails_the_gate(maskrt: Run, tmp_path: Path, changed_copy: Copy) -> None:
    data = tmp_path / "shapes"
    assert maskrt("data", "shapes", "--out", data, "--images", 1, "--val-images", 6).code == 0
    broken = changed_copy(SHIPPED, tmp_path / "broken.safetensors", one_weight_of_the_backbone)
    ran = maskrt("eval", broken, "--data", data, "--against", SHIPPED, "--json")
    assert ran.code == 1
    assert ran.json["parity"]["reference_counted"] > 0
    assert "gate failed: box AP changed by" in ran.out


def test_bench_times_models_and_writes_its_report(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    ran = maskrt(
        *("bench", chain.onnx, chain.onnx_fp16, "--data", chain.data, "--first", 2),
        *("--samples", 3, "--html", page, "--json"),
    )
    assert ran.code == 0, ran.err
    assert [backend["name"] for backend in ran.json["backends"]] == ["net.onnx", "net16.onnx"]
    assert ran.json["pictures"] == 2
    assert "net.onnx" in page.read_text()
    assert len(json.loads(page.with_suffix(".json").read_text())["accuracy"]) == 2


def test_bench_needs_no_data_set(maskrt: Run, chain: Any) -> None:
    ran = maskrt("bench", chain.onnx, "--samples", 1, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["backends"][0]["backend"].startswith("onnxruntime")


@pytest.mark.parametrize("kind", ["checkpoint", "onnx", "onnx_fp16", "engine"])
def test_inspect_knows_every_kind_of_file(maskrt: Run, chain: Any, kind: str) -> None:
    path = getattr(chain, kind)
    ran = maskrt("inspect", path, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["file"] == str(path)
    assert ran.json["kind"] == kind.removesuffix("_fp16")


def test_doctor_lists_what_this_machine_has(maskrt: Run) -> None:
    ran = maskrt("doctor", "--json")
    assert ran.code == 0
    found = {finding["name"]: finding["ok"] for finding in ran.json["findings"]}
    assert found["python"]
    assert found["tensorrt-rtx"]


def test_a_verb_without_json_prints_no_json(maskrt: Run, chain: Any) -> None:
    last = maskrt("inspect", chain.onnx).out.splitlines()[-1]
    assert not last.startswith("{")


def test_the_command_line_and_the_verbs_are_the_same_set(maskrt: Run) -> None:
    ran = maskrt("--help")
    assert ran.code == 0
    verbs = re.findall(r"^ {4}([a-z]+)\b", ran.out, flags=re.MULTILINE)
    assert len(verbs) == len(VERBS)
    for verb in verbs:
        assert maskrt(verb, "--help").code == 0


def test_help_loads_no_heavy_package() -> None:
    code = (
        "import sys; from maskrt.cli.main import parser; parser().format_help();"
        "print({'torch', 'onnx', 'onnxruntime', 'cv2', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_interrupt_is_no_traceback(
    maskrt: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert main(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_verb(maskrt: Run, shell: str) -> None:
    ran = maskrt("completion", shell)
    assert ran.code == 0, ran.err
    assert all(verb in ran.out for verb in ("bench", "export", "inspect"))


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "maskrt", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"maskrt {package.__version__}\n"
