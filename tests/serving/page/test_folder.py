"""The folder of `maskrt page`: what is in it, and what it is not written for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError
from maskrt.serving.page.page import page_sources, write_page
from maskrt.serving.page.web_runtime import FILES, PACKAGE

Write = Callable[[str | None], Path]


def test_a_page_holds_model_contract_and_pinned_runtime_and_talks_to_nobody_else(
    write_onnx: Write, tiny_contract: Contract, tmp_path: Path
) -> None:
    model = write_onnx(tiny_contract.to_json())
    write_page([model], tmp_path / "page")
    page = json.loads((tmp_path / "page" / "page.json").read_text())
    (entry,) = page["models"]
    assert (tmp_path / "page" / entry["file"]).read_bytes() == model.read_bytes()
    assert entry["contract"] == json.loads(tiny_contract.to_json())
    assert page["runtime"]["folder"] == f"https://cdn.jsdelivr.net/npm/{PACKAGE}/dist/"
    assert page["runtime"]["wasm"]["script"]["integrity"].startswith("sha384-")
    index = (tmp_path / "page" / "index.html").read_text()
    assert 'data-models="folder"' in index
    assert "connect-src 'self' blob: https://cdn.jsdelivr.net\"" in index


def test_every_file_that_the_page_names_is_in_it(
    write_onnx: Write, tiny_contract: Contract, tmp_path: Path
) -> None:
    write_page([write_onnx(tiny_contract.to_json())], tmp_path / "page")
    for path in (tmp_path / "page").glob("*.*"):
        named = re.findall(r'(?:from |src=|href=|URL\()"\.?/?([\w.]+)"', path.read_text())
        assert all((tmp_path / "page" / name).is_file() for name in named), path
    assert {path.suffix for path in page_sources()} == {".html", ".css", ".js", ".svg"}


def test_what_no_page_is_written_for_gets_a_sentence_and_leaves_nothing(
    write_onnx: Write, tiny_contract: Contract, tmp_path: Path
) -> None:
    out = tmp_path / "page"
    mine = write_onnx(tiny_contract.to_json())
    (tmp_path / "dist").mkdir()
    for name, _ in FILES["wasm"].values():
        (tmp_path / "dist" / name).write_text("another version")
    with pytest.raises(InputError, match=r"another model is called 'tiny' too"):
        write_page([mine, mine], out)
    with pytest.raises(InputError, match=rf"no such file; expected a file of {PACKAGE}"):
        write_page([mine], out, tmp_path)
    with pytest.raises(InputError, match=r"suffix '.engine' is not what a browser runs"):
        write_page([tmp_path / "x.engine"], out)
    with pytest.raises(InputError, match=r"without a maskrt contract"):
        write_page([write_onnx(None)], out)
    assert not out.exists()
