"""Whatever is wrong with the input: one sentence, exit code 2, and every file as it was before.

The sentence names where it went wrong, what was found or expected, and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import maskrt as package
from maskrt.runtime.errors import ContractError

Run = Callable[..., Any]
Copy = Callable[[Path, Path, Callable[[dict[str, Any]], None]], Path]
Tree = dict[str, bytes | None]

MODEL_VERBS = ("predict", "eval", "bench", "inspect")
"""What opens a checkpoint, an ONNX file or an engine."""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The folder in which a test makes its files; a command leaves it as it is."""
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


@pytest.fixture
def refuses(maskrt: Run, box: Path) -> Callable[..., None]:
    """Runs a command that must fail with code 2, one sentence with `words`, and change no file."""

    def check(*command: object, words: tuple[object, ...]) -> None:
        before = tree(box)
        ran = maskrt(*command)
        assert ran.code == 2, (ran.out, ran.err)
        sentences = [line for line in ran.err.splitlines() if line.startswith("maskrt ")]
        assert len(sentences) == 1, ran.err
        for word in words:
            assert str(word) in sentences[0]
        assert "Traceback" not in ran.err
        assert tree(box) == before

    return check


def tree(folder: Path) -> Tree:
    """Every file's bytes and every folder below `folder`, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def using(verb: str, model: Path, chain: Any, box: Path) -> list[object]:
    """A command of `verb` that is right but for its model."""
    return {
        "predict": ["predict", model, chain.data / "val", "--out", box / "out"],
        "eval": ["eval", model, "--data", chain.data],
        "bench": ["bench", model, "--samples", 1, "--html", box / "page.html"],
        "inspect": ["inspect", model],
        "export": ["export", model, "-o", box / "out.onnx"],
        "build": ["build", model, "-o", box / "out.engine"],
    }[verb]


# Missing files and wrong kinds


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export", "build"])
def test_a_missing_model_is_named(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / ("absent.safetensors" if verb == "export" else "absent.onnx")
    refuses(*using(verb, model, chain, box), words=(model, "no such file", "Check the path"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export", "build"])
def test_a_model_of_another_kind_is_refused_by_its_suffix(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / "model.pt"
    model.write_bytes(chain.checkpoint.read_bytes())
    refuses(*using(verb, model, chain, box), words=(model, "'.pt'", "expected"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export", "build"])
def test_an_empty_model_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / ("empty.safetensors" if verb == "export" else "empty.onnx")
    model.touch()
    refuses(*using(verb, model, chain, box), words=(model, "empty"))


def test_every_other_missing_file_is_named(
    refuses: Callable[..., None], chain: Any, box: Path
) -> None:
    absent, data = box / "absent", ("--data", chain.data)
    weights, page = absent.with_suffix(".safetensors"), box / "page.html"
    refuses("eval", chain.onnx, "--data", absent, words=(absent, "no such folder"))
    refuses("eval", chain.onnx, *data, "--split", "test", words=("--split", "'test'", "val"))
    refuses("eval", chain.onnx, *data, "--against", weights, words=(weights, "no such file"))
    refuses("bench", chain.onnx, "--data", absent, "--html", page, words=(absent, "no such folder"))
    refuses(
        *using("predict", chain.onnx, chain, box)[:2], absent, "--out", box / "out", words=(absent,)
    )
    train = ("train", *chain.recipe, "--out", box / "run")
    refuses(*train, "--data", absent, words=(absent, "no such folder"))
    refuses(*train, *data, "--backbone", weights, words=(weights, "no such file"))
    new = ("new", *chain.recipe, "-o", box / "a.safetensors", "--backbone", weights)
    refuses(*new, words=(weights, "no such file"))
    imported = ("import", absent.with_suffix(".pkl"), "--format", "detectron2")
    refuses(*imported, "-o", box / "a.safetensors", words=(absent, "no such file"))


def test_an_output_of_the_wrong_kind_is_refused_before_the_work(
    refuses: Callable[..., None], chain: Any, box: Path
) -> None:
    out = box / "out.txt"
    out.write_text("old")
    refuses("new", *chain.recipe, "-o", out, words=(out, ".safetensors", "'.txt'"))
    refuses("export", chain.checkpoint, "-o", out, words=(out, ".onnx", "'.txt'"))
    refuses("build", chain.onnx, "-o", out, words=(out, ".engine", "'.txt'"))
    refuses("bench", chain.onnx, "--html", out, words=(out, ".html", "'.txt'"))
    refuses("predict", chain.onnx, chain.data / "val", "--out", out, words=(out, "folder"))
    refuses("data", "shapes", "--out", out, words=(out, "expected a folder"))


def test_import_refuses_what_holds_no_weights(refuses: Callable[..., None], box: Path) -> None:
    file, out = box / "model_final.pkl", box / "out.safetensors"
    file.write_text("text, renamed\n")
    out.write_text("old")
    command = ("import", file, "--format", "detectron2", "-o")
    refuses(*command, out, words=(out, "is there already", "--overwrite"))
    refuses(*command, out, "--overwrite", words=(file, "expected"))
    refuses(*command, box / "out.pt", words=(box / "out.pt", ".safetensors", "Rename it"))


def test_predict_refuses_a_source_of_another_kind(
    refuses: Callable[..., None], chain: Any, box: Path
) -> None:
    (box / "notes.txt").write_text("text")
    (box / "empty").mkdir()
    out = ("--out", box / "out")
    refuses("predict", chain.onnx, box / "notes.txt", *out, words=("notes.txt", "'.txt'"))
    refuses("predict", chain.onnx, box / "empty", *out, words=("empty", "no picture"))


# Broken pictures


def broken_jpeg(path: Path, whole: Path, kind: str) -> Path:
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2] if kind == "truncated" else b"text, renamed\n")
    return path


@pytest.mark.parametrize("kind", ["truncated", "text"])
def test_predict_names_a_broken_picture(
    refuses: Callable[..., None], chain: Any, box: Path, kind: str
) -> None:
    picture = broken_jpeg(box / "a.jpg", chain.data / "val" / "000001.jpg", kind)
    words = (picture, "not a whole picture", "save it again")
    refuses("predict", chain.onnx, picture, "--out", box / "out", words=words)


def test_predict_keeps_what_it_wrote_whole(maskrt: Run, chain: Any, box: Path) -> None:
    whole, out = chain.data / "val" / "000001.jpg", box / "out"
    picture = broken_jpeg(box / "a.jpg", whole, "truncated")
    ran = maskrt("predict", chain.onnx, whole, picture, "--out", out)
    assert ran.code == 2
    assert f"{picture}: not a whole picture" in ran.err
    assert sorted(p.name for p in out.iterdir()) == ["000001.jpg", "results.json"]
    assert cv2.imread(str(out / "000001.jpg")) is not None
    assert len(json.loads((out / "results.json").read_text())["images"]) == 1


@pytest.mark.parametrize("verb", ["eval", "bench", "train"])
def test_a_data_set_with_a_broken_picture_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    data = box / "data"
    shutil.copytree(chain.data, data)
    for picture in (*data.glob("train/*.jpg"), *data.glob("val/*.jpg")):
        broken_jpeg(picture, picture, "truncated")
    command: dict[str, list[object]] = {
        "eval": ["eval", chain.onnx],
        "bench": ["bench", chain.onnx, "--html", box / "page.html"],
        "train": ["train", *chain.recipe, "--out", box / "run", "--workers", 0],
    }
    refuses(*command[verb], "--data", data, words=(data, ".jpg: not a whole picture"))


@pytest.mark.parametrize("verb", ["eval", "bench", "train"])
def test_a_data_set_with_broken_annotations_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    data = box / "data"
    shutil.copytree(chain.data, data)
    for file in data.glob("annotations/*.json"):
        file.write_text(file.read_text()[:200])
    command: dict[str, list[object]] = {
        "eval": ["eval", chain.onnx],
        "bench": ["bench", chain.onnx, "--html", box / "page.html"],
        "train": ["train", *chain.recipe, "--out", box / "run", "--workers", 0],
    }
    refuses(*command[verb], "--data", data, words=(data / "annotations", "JSON"))


# Corrupt and foreign models


def cut(path: Path, copy: Path) -> Path:
    """The first 60 % of a file."""
    copy.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return copy


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "build"])
def test_a_cut_onnx_file_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = cut(chain.onnx, box / "cut.onnx")
    refuses(*using(verb, model, chain, box), words=(model, "xport"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "build"])
def test_text_named_onnx_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / "text.onnx"
    model.write_text("text, renamed\n")
    refuses(*using(verb, model, chain, box), words=(model, "xport"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "build"])
def test_an_onnx_file_of_another_tool_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) {y = Abs (x)}'
    model = box / "foreign.onnx"
    onnx.save(onnx.parser.parse_model(text), str(model))
    refuses(*using(verb, model, chain, box), words=(model, "contract", "maskrt export"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export"])
def test_a_cut_checkpoint_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = cut(chain.checkpoint, box / "cut.safetensors")
    shutil.copy(chain.checkpoint.with_suffix(".yaml"), box / "cut.yaml")
    refuses(*using(verb, model, chain, box), words=(model, "safetensors", "again"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export"])
def test_a_checkpoint_without_its_recipe_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / "alone.safetensors"
    shutil.copy(chain.checkpoint, model)
    refuses(*using(verb, model, chain, box), words=(box / "alone.yaml", "no such file"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export"])
def test_a_checkpoint_beside_another_recipe_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    model = box / "other.safetensors"
    shutil.copy(chain.checkpoint, model)
    recipe = chain.checkpoint.with_suffix(".yaml").read_text()
    wider = recipe.replace("separable_channels: 8", "separable_channels: 16")
    (box / "other.yaml").write_text(wider)
    refuses(*using(verb, model, chain, box), words=(model, "do not belong together"))


@pytest.mark.parametrize("verb", [*MODEL_VERBS, "export"])
def test_nan_weights_are_refused_by_name(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str, changed_copy: Copy
) -> None:
    def poison(tensors: dict[str, Any]) -> None:
        tensors["rpn.conv.weight"][0, 0, 0, 0] = float("nan")

    model = changed_copy(chain.checkpoint, box / "nan.safetensors", poison)
    refuses(*using(verb, model, chain, box), words=(model, "'rpn.conv.weight'", "NaN"))


# Engines: all of it is found out before TensorRT or a GPU is asked


def engine_copy(engine: Path, box: Path) -> Path:
    copy = box / "copy.engine"
    shutil.copy(engine, copy)
    shutil.copy(f"{engine}.json", f"{copy}.json")
    return copy


@pytest.mark.parametrize("verb", MODEL_VERBS)
def test_an_engine_with_one_changed_byte_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    engine = engine_copy(chain.engine, box)
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    words = (engine, "SHA-256", "Build it again: maskrt build")
    refuses(*using(verb, engine, chain, box), words=words)


@pytest.mark.parametrize("verb", MODEL_VERBS)
def test_an_engine_without_its_sidecar_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    engine = box / "alone.engine"
    shutil.copy(chain.engine, engine)
    refuses(*using(verb, engine, chain, box), words=(f"{engine}.json", "sidecar", "maskrt build"))


@pytest.mark.parametrize("verb", MODEL_VERBS)
def test_an_engine_beside_anothers_sidecar_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    engine = engine_copy(chain.engine, box)
    shutil.copy(f"{chain.other_engine}.json", f"{engine}.json")
    refuses(*using(verb, engine, chain, box), words=(engine, "not the engine its sidecar", "again"))


@pytest.mark.parametrize("verb", MODEL_VERBS)
def test_a_sidecar_that_is_no_sidecar_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    engine = engine_copy(chain.engine, box)
    Path(f"{engine}.json").write_text('{"contract": {}}')
    refuses(*using(verb, engine, chain, box), words=(f"{engine}.json", "again"))


@pytest.mark.parametrize("verb", ["predict", "eval", "bench"])
def test_an_engine_of_another_tensorrt_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    engine = engine_copy(chain.engine, box)
    sidecar = json.loads(Path(f"{engine}.json").read_text())
    sidecar["fingerprint"]["tensorrt_version"] = "1.2.3.4"
    Path(f"{engine}.json").write_text(json.dumps(sidecar))
    refuses(*using(verb, engine, chain, box), words=(engine, "built by", "1.2.3.4", "installed"))


# Arrays


@pytest.mark.parametrize("kind", ["checkpoint", "onnx"])
def test_a_session_refuses_arrays_that_its_contract_does_not_state(chain: Any, kind: str) -> None:
    images, sizes = np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 2), 64, np.int32)
    with package.load(getattr(chain, kind)) as predictor:
        run = predictor.session.run
        assert set(run(images, sizes)) == {spec.name for spec in predictor.contract.outputs}
        with pytest.raises(ContractError, match=r"'images' got \(1, 32, 64, 3\) uint8; expected"):
            run(images[:, :32], sizes)
        with pytest.raises(ContractError, match=r"'images' got .* float32; expected .* uint8"):
            run(images.astype(np.float32), sizes)  # type: ignore[arg-type]
        with pytest.raises(ContractError, match=r"'image_sizes' got \(1, 2\) int64; expected"):
            run(images, sizes.astype(np.int64))  # type: ignore[arg-type]
        with pytest.raises(ContractError, match="within 1 x 1 and the canvas"):
            run(images, sizes * 2)


# Options and recipes


@pytest.mark.parametrize("verb", ["new", "train"])
@pytest.mark.parametrize(
    "wrong",
    [
        ("lsc_mask_rcnn_tiny", "solver.lrr=1", ("unknown key 'solver.lrr'", "'solver.lr'")),
        ("lsc_mask_rcnn_tiny", "modle.pooling=7", ("'modle'", "'model'")),
        ("lsc_mask_rcnn_tiny", "solver.lr=fast", ("solver.lr='fast'", "a number")),
        ("lsc_mask_rcnn_tiny", "model.separable_kernel=4", ("separable_kernel=4", "odd")),
        ("lsc_mask_rcnn_tinny", "solver.lr=1", ("lsc_mask_rcnn_tinny", "lsc_mask_rcnn_tiny?")),
    ],
    ids=["key", "section", "type", "value", "recipe"],
)
def test_a_wrong_recipe_is_named_with_what_is_near(
    refuses: Callable[..., None],
    chain: Any,
    box: Path,
    verb: str,
    wrong: tuple[str, str, tuple[str, ...]],
) -> None:
    recipe, override, words = wrong
    rest: dict[str, list[object]] = {
        "new": ["-o", box / "a.safetensors"],
        "train": ["--data", chain.data, "--out", box / "run"],
    }
    refuses(verb, recipe, override, *rest[verb], words=words)


def test_a_recipe_file_with_an_unknown_key_is_refused(
    refuses: Callable[..., None], box: Path
) -> None:
    recipe = box / "mine.yaml"
    recipe.write_text("name: mine\nmodel: {poolin: 7}\n")
    words = (recipe, "unknown key 'model.poolin'", "'model.pooling'")
    refuses("new", recipe, "-o", box / "a.safetensors", words=words)


def test_a_canvas_that_the_stride_does_not_divide_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path
) -> None:
    command = using("export", chain.checkpoint, chain, box)
    refuses(*command, "--canvas", "60x64", words=("60x64", "multiples of 16", "64x64"))


@pytest.mark.parametrize("option", ["--batch", "--proposals", "--detections"])
def test_export_refuses_empty_shapes(
    refuses: Callable[..., None], chain: Any, box: Path, option: str
) -> None:
    refuses(*using("export", chain.checkpoint, chain, box), option, 0, words=(option, "at least 1"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["data", "shapes", "--out", "OUT", "--images", 0], ("--images 0", "at least 1")),
        (["data", "shapes", "--out", "OUT", "--seed", -1], ("seed -1", "0 or more")),
        (["predict", "ONNX", "VAL", "--out", "OUT", "--score", 2], ("--score", "from 0 to 1")),
        (["eval", "ONNX", "--data", "DATA", "--first", 0], ("--first 0", "at least 1")),
        (["bench", "ONNX", "--samples", 0], ("samples=0", "at least one sample")),
        (["bench", "ONNX", "--seconds", -1], ("seconds=-1.0", "a time above 0")),
        (["build", "ONNX", "-o", "OUT.engine", "--min-fp16", 2], ("min_fp16", "from 0 to 1")),
        (["build", "ONNX", "-o", "OUT.engine", "--workspace-bytes", 0], ("0 bytes", "more than 0")),
    ],
    ids=lambda value: " ".join(map(str, value[:1] + value[-2:])) if value and value[0] else None,
)
def test_options_outside_their_range_are_refused(
    refuses: Callable[..., None], chain: Any, box: Path, command: list[Any], words: tuple[str, ...]
) -> None:
    known = {
        "OUT": box / "out",
        "OUT.engine": box / "out.engine",
        "ONNX": chain.onnx,
        "DATA": chain.data,
        "VAL": chain.data / "val",
    }
    refuses(*(known.get(word, word) for word in command), words=words)


def test_bad_usage_is_exit_code_2(maskrt: Run, chain: Any) -> None:
    for words in (
        ("fly",),
        ("export", chain.checkpoint),
        ("export", chain.checkpoint, "-o", "a.onnx", "--canvas", "64"),
        ("doctor", "a=1"),
        ("new", "lsc_mask_rcnn_tiny", "-o", "a.safetensors", "--fast"),
    ):
        ran = maskrt(*words)
        assert ran.code == 2
        assert "error: " in ran.err


def test_a_model_of_other_classes_is_refused(
    refuses: Callable[..., None], chain: Any, box: Path, maskrt: Run
) -> None:
    other = box / "coco.safetensors"
    assert maskrt("new", *chain.recipe, "classes=coco", "-o", other).code == 0
    words = (chain.data, "categories do not match", "circle")
    refuses("eval", other, "--data", chain.data, words=words)
    train = ("train", *chain.recipe, "classes=coco", "--data", chain.data, "--out", box / "run")
    refuses(*train, words=(chain.data, "categories", "classes"))


# FP16


def test_a_weight_beyond_half_is_refused_in_fp16(
    refuses: Callable[..., None], chain: Any, box: Path, changed_copy: Copy
) -> None:
    def enlarge(tensors: dict[str, Any]) -> None:
        tensors["rpn.conv.weight"][0, 0, 0, 0] = 1e6

    model = changed_copy(chain.checkpoint, box / "large.safetensors", enlarge)
    (box / "out.onnx").write_bytes(b"old")
    command = (*using("export", model, chain, box), "--precision", "fp16")
    refuses(*command, words=("rpn.conv.weight", "65504", "fp32"))


# A full disk


@contextlib.contextmanager
def no_file_beyond(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses what would make any file larger, to Python, Rust and C++ alike.

    It is what a disk does that fills up in the middle of a file, with EFBIG in place of ENOSPC.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def writing(verb: str, chain: Any, box: Path) -> list[object]:
    """A right command of `verb` that writes into `box`, over older files where there are any."""
    old: dict[str, tuple[str, ...]] = {
        "new": ("old.safetensors", "old.yaml"),
        "export": ("old.onnx",),
        "build": ("old.engine", "old.engine.json"),
        "predict": ("old/000001.jpg", "old/results.json"),
        "bench": ("old.html", "old.json"),
    }
    for name in old.get(verb, ()):
        (box / name).parent.mkdir(exist_ok=True)
        (box / name).write_text(f"old {name}")
    return {
        "data": ["data", "shapes", "--out", box / "new", "--images", 1, "--val-images", 1],
        "new": ["new", *chain.recipe, "-o", box / "old.safetensors", "--overwrite"],
        "train": [
            "train",
            *chain.recipe,
            "--data",
            chain.data,
            "--out",
            box / "run",
            "--workers",
            0,
        ],
        "export": ["export", chain.checkpoint, "-o", box / "old.onnx"],
        "build": ["build", chain.onnx, "-o", box / "old.engine"],
        "predict": ["predict", chain.onnx, chain.data / "val", "--out", box / "old"],
        "bench": ["bench", chain.onnx, "--samples", 1, "--html", box / "old.html"],
    }[verb]


@pytest.mark.parametrize("verb", ["data", "new", "export", "build", "predict", "bench"])
def test_a_disk_that_fills_up_leaves_every_file_as_it_was(
    refuses: Callable[..., None], chain: Any, box: Path, verb: str
) -> None:
    command = writing(verb, chain, box)
    with no_file_beyond(3000):
        refuses(*command, words=(box, "could not be written", "Free some space"))


@pytest.mark.parametrize("verb", ["data", "new", "build", "predict", "bench"])
def test_a_disk_without_space_leaves_every_file_as_it_was(
    refuses: Callable[..., None],
    chain: Any,
    box: Path,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = writing(verb, chain, box)
    monkeypatch.setattr("pathlib.Path.touch", full)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    refuses(*command, words=(box, "No space left on device", "Free some space"))


def test_training_on_a_disk_that_fills_up_keeps_the_last_state(
    maskrt: Run, chain: Any, box: Path
) -> None:
    command = writing("train", chain, box)
    assert maskrt(*command).code == 0
    before = tree(box / "run")
    with no_file_beyond(3000):
        ran = maskrt(*command, "--resume", "solver.steps=3")
    assert ran.code == 2, ran.err
    assert str(box / "run") in ran.err
    assert "could not be written" in ran.err
    after = tree(box / "run")
    for name in ("resume.safetensors", "model.safetensors", "model.yaml"):
        assert after[name] == before[name]
    assert not [name for name in after if name.endswith(".tmp")]


@pytest.mark.parametrize("limit_bytes", [0, 3000])
def test_training_that_cannot_write_says_so_and_leaves_no_checkpoint(
    maskrt: Run, chain: Any, box: Path, limit_bytes: int
) -> None:
    with no_file_beyond(limit_bytes):
        ran = maskrt(*writing("train", chain, box))
    assert ran.code == 2, ran.err
    assert "could not be written" in ran.err
    assert "Traceback" not in ran.err
    left = tree(box)
    assert not [name for name in left if name.endswith((".safetensors", ".tmp", ".lock"))]
