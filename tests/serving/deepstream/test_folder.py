"""DeepStream's folder: its numbers, and its parser compiled and fed with a frame's outputs."""

from __future__ import annotations

import configparser
import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError
from maskrt.serving.deepstream.folder import PARSER, valid_size, write_folder

from ..engine_file import write_engine

HERE = Path(__file__).parent


def settings(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(comment_prefixes="#", interpolation=None)
    found.read_string(path.read_text())
    return found


def test_the_folder_states_what_the_contract_does(tmp_path: Path, tiny_contract: Contract) -> None:
    engine = write_engine(tmp_path / "net.engine", tiny_contract)
    out = tmp_path / "deepstream"
    write_folder(engine, out, (1080, 1920))
    frames = settings(out / "config_preprocess.txt")["property"]
    assert frames["network-input-shape"] == "2;32;48;3"
    assert (frames["tensor-name"], frames["tensor-data-type"]) == ("images", "1")
    infer = settings(out / "config_infer.txt")["property"]
    assert (infer["batch-size"], infer["num-detected-classes"]) == ("2", "2")
    assert infer["parse-bbox-instance-mask-func-name"] == "MaskrtParseInstances"
    assert (out / "labels.txt").read_text() == "disc\nstar\n"
    assert (out / infer["model-engine-file"]).read_bytes() == engine.read_bytes()
    assert (out / "canvas.h").read_text().split()[2::3] == ["27", "48"]


def test_a_detector_gets_the_parser_of_boxes(tmp_path: Path, tiny_contract: Contract) -> None:
    boxes = dataclasses.replace(tiny_contract, task="detection", outputs=tiny_contract.outputs[:3])
    write_folder(write_engine(tmp_path / "net.engine", boxes), tmp_path / "out", (32, 48))
    infer = settings(tmp_path / "out" / "config_infer.txt")["property"]
    assert (infer["network-type"], infer["parse-bbox-func-name"]) == ("0", "MaskrtParseBoxes")


def test_an_engine_for_rtx_is_refused(tmp_path: Path, tiny_contract: Contract) -> None:
    engine = write_engine(tmp_path / "net.engine", tiny_contract, runtime="tensorrt-rtx")
    with pytest.raises(InputError, match=r"an engine for tensorrt-rtx; expected one for tensorrt"):
        write_folder(engine, tmp_path / "out", (32, 48))
    assert not (tmp_path / "out").exists()


def test_a_frame_fills_one_side_of_the_canvas() -> None:
    assert valid_size((32, 48), (1080, 1920)) == (27, 48)
    assert valid_size((32, 48), (1920, 1080)) == (32, 18)
    assert valid_size((32, 48), (20, 30)) == (32, 48)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_parser_compiles_and_gives_the_objects(tmp_path: Path) -> None:
    (tmp_path / "canvas.h").write_text("#define VALID_HEIGHT 27\n#define VALID_WIDTH 48\n")
    words = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address", "-O1"]
    sources = [str(PARSER), str(HERE / "frame.cpp")]
    program = str(tmp_path / "frame")
    compiled = subprocess.run(
        [*words, f"-I{HERE}", f"-I{tmp_path}", *sources, "-o", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == [
        "sizes 27 48 27 48",
        "instance 1 1 2 10 20 0.9 mask 2x3 24 0",
        "instance 0 5 6 2 2 0.4 mask 2x3 24 6",
        "boxes 2",
    ]
    found = subprocess.run(
        [program, "proposals"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[1] for line in found.splitlines()[1:4]] == ["0", "0", "0"]
