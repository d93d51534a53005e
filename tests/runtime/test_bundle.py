"""The index of a bundle: what it says, and that nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.bundle import (
    INDEX,
    WEIGHTS,
    canvas_words,
    check_contract,
    check_file,
    graph_paths,
    is_bundle,
    name_of,
    read_bundle,
)
from maskrt.runtime.bundle_folder import bundle_folder, write_index
from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import ContractError, InputError


@pytest.fixture
def bundle(tmp_path: Path, tiny_contract: Contract) -> Path:
    """A folder of two files that stand for graphs, and shared weights."""
    folder = tmp_path / "model"
    with bundle_folder(folder) as made:
        (made / WEIGHTS).write_bytes(b"weights")
        graphs = []
        for height, width in ((32, 48), (48, 32)):
            path = made / f"{height}x{width}.onnx"
            path.write_bytes(path.name.encode())
            graphs.append((path, dataclasses.replace(tiny_contract, canvas_hw=(height, width))))
        write_index(made, graphs, made / WEIGHTS)
    return folder


def test_an_index_says_what_was_written(bundle: Path) -> None:
    index = read_bundle(bundle)
    assert index == read_bundle(bundle / INDEX)
    assert (index.variant, index.batch, index.canvases) == ("tiny", 2, ((32, 48), (48, 32)))
    assert index.total_bytes == 2 * len("32x48.onnx") + len("weights")
    assert is_bundle(bundle)
    names = [path.name for path in graph_paths(bundle / INDEX)]
    assert names == ["32x48.onnx", "48x32.onnx"]
    assert [check_file(bundle, graph).name for graph in index.graphs] == names
    assert canvas_words(index.canvases) == "32x48 and 48x32"


def test_tables_call_a_bundle_by_its_folder(bundle: Path) -> None:
    assert name_of(bundle / INDEX) == "model"
    assert name_of(bundle / "32x48.onnx") == "model/32x48.onnx"
    assert name_of(bundle.parent / "other.onnx") == "other.onnx"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema 2; this maskrt reads 1"),
        ({"graphs": []}, "graphs is empty"),
        ({"batch": 0}, "batch is 0"),
        ({"variant": 1}, "variant is 1; expected text"),
        ({"extra": 1}, "unknown 'extra'"),
        ({"weights": {"file": "../x", "sha256": "", "bytes": 1}}, "a name without folders"),
        ({"weights": {"file": "..", "sha256": "", "bytes": 1}}, "a name without folders"),
    ],
)
def test_an_index_that_is_none_is_refused(bundle: Path, change: dict[str, Any], words: str) -> None:
    path = bundle / INDEX
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=rf"bundle\.json: not an index .*{words}"):
        read_bundle(bundle)


def test_canvases_differ_and_have_a_size(bundle: Path) -> None:
    path = bundle / INDEX
    raw = json.loads(path.read_text())
    for canvas_hw, words in (([48, 32], "one canvas"), ([0, 32], "expected 1 to")):
        raw["graphs"][0]["canvas_hw"] = canvas_hw
        path.write_text(json.dumps(raw))
        with pytest.raises(InputError, match=words):
            read_bundle(bundle)


def test_a_folder_without_index_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bundle\.json: No such file .*Name such a folder"):
        read_bundle(tmp_path)
    assert not is_bundle(tmp_path)


def test_files_of_another_bundle_are_refused(bundle: Path, tiny_contract: Contract) -> None:
    index = read_bundle(bundle)
    (bundle / "32x48.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match=r"32x48\.onnx: SHA-256 .* is of another bundle"):
        check_file(bundle, index.graphs[0])
    (bundle / "32x48.onnx").unlink()
    with pytest.raises(InputError, match=r"32x48\.onnx: no such file"):
        check_file(bundle, index.graphs[0])
    path = bundle / "32x48.onnx"
    check_contract(path, tiny_contract, index, index.graphs[0])
    for change in ({"batch": 3}, {"canvas_hw": (1, 1)}, {"checkpoint_sha256": "1" * 64}):
        other = dataclasses.replace(tiny_contract, **change)
        with pytest.raises(ContractError, match="in its contract; expected"):
            check_contract(path, other, index, index.graphs[0])


def test_only_a_bundle_is_replaced(bundle: Path, tmp_path: Path) -> None:
    with bundle_folder(bundle) as made:
        (made / INDEX).write_text("{}")
    assert [path.name for path in bundle.iterdir()] == [INDEX]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    for place, words in (("photos", "holds something"), ("photos/a.jpg", "a file")):
        with pytest.raises(InputError, match=words), bundle_folder(tmp_path / place):
            pass
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_errors_name_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=rf"^{tmp_path}/model/a\.onnx: broken"),
        bundle_folder(tmp_path / "model") as made,
    ):
        raise InputError(f"{made}/a.onnx: broken")
    assert list(tmp_path.iterdir()) == []
