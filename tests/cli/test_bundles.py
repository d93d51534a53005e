"""A bundle goes through every verb like a file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskrt as package
from maskrt.cli.main import main
from maskrt.runtime.bundle import INDEX, read_bundle
from maskrt.runtime.sidecar import read_sidecar

Run = Callable[..., Any]
LANDSCAPE, PORTRAIT = (48, 80), (80, 48)


@pytest.fixture(scope="module")
def bundle(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "model"
    words = ("export", chain.checkpoint, "-o", folder, "--canvas", "48x80,80x48")
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a trained network, which finds something."""
    folder = tmp_path_factory.mktemp("shipped") / "lsc"
    words = ("export", "lsc_mask_rcnn_tiny", "-o", folder, "--canvas", "400x480,480x400")
    assert main([str(word) for word in words]) == 0
    return folder


def test_export_without_suffix_makes_a_bundle(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "model"
    ran = maskrt("export", chain.checkpoint, "-o", folder, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["bundle"] == str(folder)
    assert [Path(graph["onnx"]) for graph in ran.json["graphs"]] == [folder / "64x64.onnx"]
    assert "a bundle of 1 canvas" in ran.out
    assert ran.json["bytes"] == read_bundle(folder).total_bytes


def test_a_file_holds_one_canvas(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    for canvas in ("48x80,80x48", "portrait-landscape", "buckets"):
        ran = maskrt("export", chain.checkpoint, "-o", tmp_path / "a.onnx", "--canvas", canvas)
        assert ran.code == 2
        assert "a.onnx: several canvases asked for; expected one for a file" in ran.err
        assert f"-o {tmp_path / 'a'}" in ran.err
    odd = maskrt("export", chain.checkpoint, "-o", tmp_path / "a", "--canvas", "50x80,80x48")
    assert odd.code == 2
    assert "--canvas 50x80: both sides must be multiples of 16" in odd.err
    wrong = maskrt("export", chain.checkpoint, "-o", tmp_path / "a", "--canvas", "both")
    assert wrong.code == 2
    assert "nor portrait-landscape or buckets" in wrong.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_refused_by_every_verb(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for words in (
        ("predict", tmp_path, chain.data / "val", "--out", out),
        ("eval", tmp_path, "--data", chain.data),
        ("bench", tmp_path),
        ("inspect", tmp_path),
        ("build", tmp_path, "-o", out),
    ):
        ran = maskrt(*words)
        assert ran.code == 2, words
        assert "bundle.json: No such file" in ran.err, words
    assert not out.exists()


def test_predict_puts_each_picture_on_its_canvas(
    maskrt: Run, shipped: Path, tmp_path: Path
) -> None:
    import cv2

    from maskrt.train.shapes.scenes import draw_scene

    sources = tmp_path / "pictures"
    sources.mkdir()
    for place, hw in enumerate([(240, 300), (300, 240), (300, 250)]):
        scene = draw_scene(np.random.default_rng(place), hw)
        assert cv2.imwrite(str(sources / f"{place}.png"), scene.image[..., ::-1])
    ran = maskrt("predict", shipped, sources, "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["pictures"], ran.json["lost"]) == (3, None)
    one = maskrt(
        *("predict", shipped / "400x480.onnx", sources, "--out", tmp_path / "one", "--json")
    )
    assert "2 of 3 pictures lose" in one.out
    assert "to the canvas 400x480" in one.json["lost"]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [image["file_name"] for image in results["images"]] == [
        str(sources / f"{place}.png") for place in range(3)
    ]
    # landscape pictures are the landscape graph's, to the last digit
    alone = json.loads((tmp_path / "one" / "results.json").read_text())
    rows, same = (
        [row for row in found["annotations"] if row["image_id"] == 1] for found in (results, alone)
    )
    assert [row["bbox"] for row in rows] == [row["bbox"] for row in same] != []


def test_eval_of_a_bundle_passes_the_gate_where_its_canvas_is_as_good(
    maskrt: Run, chain: Any, shipped: Path
) -> None:
    ran = maskrt("eval", shipped, "--data", chain.data, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["lost"], ran.json["headroom"]) == (None, None)
    hop = maskrt("eval", shipped, "--data", chain.data, "--against", shipped, "--json")
    assert hop.code == 0, hop.out
    assert hop.json["candidate"] == "lsc"
    lost = maskrt("eval", shipped / "400x480.onnx", "--data", chain.data, "--json")
    assert lost.json["lost"] is None or "the canvas 400x480" in lost.json["lost"]


def test_eval_emulates_an_fp16_bundle(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    words = ("export", chain.checkpoint, "-o", folder, "--canvas", "48x80,80x48")
    assert maskrt(*words, "--precision", "fp16").code == 0
    ran = maskrt("eval", folder, "--data", chain.data, "--json")
    assert ran.code == 0, ran.err
    assert "FP16 emulated" in " ".join(ran.out.split())
    assert ran.json["headroom"]["pictures"] == 3


def test_bench_times_each_graph(maskrt: Run, chain: Any, bundle: Path) -> None:
    words = ("bench", bundle, chain.onnx, "--samples", 1, "--data", chain.data, "--first", 2)
    ran = maskrt(*words, "--json")
    assert ran.code == 0, ran.err
    names = [backend["name"] for backend in ran.json["backends"]]
    assert names == ["model/48x80.onnx", "model/80x48.onnx", "net.onnx"]


def test_inspect_tells_of_every_graph(maskrt: Run, bundle: Path) -> None:
    ran = maskrt("inspect", bundle, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["kind"], ran.json["file"]) == ("bundle", str(bundle / INDEX))
    assert [g["contract"]["canvas_hw"] for g in ran.json["graphs"]] == [[48, 80], [80, 48]]
    assert "shared weights" in ran.out
    assert maskrt("inspect", bundle / INDEX).code == 0
    floors = maskrt("inspect", bundle, "--gpu", "t4", "--json").json["floors"]
    assert [Path(file["file"]).name for file in floors] == ["48x80.onnx", "80x48.onnx"]


def test_build_makes_a_bundle_of_engines(maskrt: Run, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    ran = maskrt("build", bundle, "-o", folder, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["bundle"] == str(folder)
    engines = [folder / "48x80.engine", folder / "80x48.engine"]
    assert [Path(built["engine"]) for built in ran.json["engines"]] == engines
    assert "48x80.onnx: engine 1 of 2" in ran.err
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [INDEX, *(p.name for p in engines), *(f"{p.name}.json" for p in engines)]
    )
    assert (read_bundle(folder).canvases, read_bundle(folder).weights) == (
        (LANDSCAPE, PORTRAIT),
        None,
    )
    for engine in engines:
        command = shlex.split(read_sidecar(engine).rebuild_command(engine))
        assert command[:5] == ["maskrt", "build", str(bundle), "-o", str(folder)]
        assert "--timing-cache" not in command
    inspected = maskrt("inspect", folder, "--json")
    assert [graph["kind"] for graph in inspected.json["graphs"]] == ["engine", "engine"]
    again = maskrt("build", folder, "-o", tmp_path / "more")
    assert again.code == 2
    assert "a bundle of engines; expected one of ONNX graphs" in again.err
    named = maskrt("build", bundle, "-o", tmp_path / "x.engine")
    assert named.code == 2
    assert "expected a folder's name without" in named.err


def test_bisect_takes_an_export(maskrt: Run, chain: Any, shipped: Path, tmp_path: Path) -> None:
    out = tmp_path / "keep.json"
    ran = maskrt("bisect", shipped, "--data", chain.data, "--first", 2, "-o", out, "--json")
    assert ran.code == 0, ran.err
    words = ("export", "lsc_mask_rcnn_tiny", "-o", tmp_path / "a.onnx")
    assert maskrt(*words, "--mixture", out).code == 0
    half = maskrt("bisect", chain.onnx_fp16, "--data", chain.data, "-o", out)
    assert half.code == 2
    assert "an export in fp16; expected FP32" in half.err


def test_load_takes_a_bundle_and_options_for_each_graph(bundle: Path) -> None:
    images = [np.full((*hw, 3), 90, np.uint8) for hw in (LANDSCAPE, PORTRAIT)]
    for named in (bundle, str(bundle), bundle / INDEX, f"{bundle}@onnxruntime-cpu,threads=1"):
        with package.load(named) as predictor:
            assert [found.image_hw for found in predictor.predict(images)] == [LANDSCAPE, PORTRAIT]
            assert predictor.canvases == (LANDSCAPE, PORTRAIT)


def test_weights_of_another_bundle_are_refused(
    maskrt: Run, bundle: Path, tmp_path: Path, chain: Any
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    data = bytearray((copy / "weights.bin").read_bytes())
    data[0] ^= 1
    (copy / "weights.bin").write_bytes(data)
    for words in (
        ("inspect", copy),
        ("eval", copy, "--data", chain.data),
        ("build", copy, "-o", tmp_path / "e"),
    ):
        ran = maskrt(*words)
        assert ran.code == 2
        assert "weights.bin: SHA-256" in ran.err
