"""`maskrt serve` as a process: it says where it listens, answers, and ends well."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import onnx
import pytest

from maskrt.runtime.contract import METADATA_KEY, Contract
from maskrt.runtime.errors import InputError
from maskrt.workflows.serving.service import named

from ...conftest import Ran
from ...runtime.conftest import TINY_GRAPH
from .conftest import png


def test_a_process_serves_models_by_name_and_sigterm_ends_it_with_0(
    write_onnx: Callable[[str | None], Path], tiny_contract: Contract, tmp_path: Path
) -> None:
    path = write_onnx(tiny_contract.to_json())
    (tmp_path / "token").write_text("secret\n")
    words = ("serve", path, f"{path}@onnxruntime-cpu", "--port", 0, "--json")
    command = [sys.executable, "-m", "maskrt", *map(str, words)]
    command += ["--token-file", str(tmp_path / "token")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.fullmatch(
                r"(http://127\.0\.0\.1:\d+) answers for tiny, tiny-onnxruntime-cpu; .*\n", line
            )
            assert found, line
            with httpx.Client(base_url=found[1], trust_env=False, timeout=20) as client:
                assert client.post("/predict", content=png(255)).status_code == 401
                client.headers["Authorization"] = "Bearer secret"
                for query in ("", "?model=tiny-onnxruntime-cpu"):
                    answer = client.post(f"/predict{query}", content=png(255)).json()
                    assert len(answer["instances"]) == 2
            process.send_signal(signal.SIGTERM)
            out, log = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert json.loads(out)["models"] == ["tiny", "tiny-onnxruntime-cpu"]
    assert re.search(r"^POST /predict 200 \d+\.\d ms trace [0-9a-f]{32}$", log, re.MULTILINE)
    assert "secret" not in log


def test_bad_usage_ends_with_2_and_a_sentence(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    tmp_path: Path,
    maskrt: Callable[..., Ran],
) -> None:
    path = write_onnx(tiny_contract.to_json())
    (tmp_path / "empty").write_text("\n")
    for words, expected in (
        ((path, "--host", "192.0.2.1"), "cannot be listened on"),
        ((path, "--queue", 0), "expected 1 to 100000"),
        ((path, "--token-file", tmp_path / "empty"), "expected a token on one line"),
        ((path, path), "the name 'tiny' is"),
        ((tmp_path / "none.onnx", "--port", 0), "no such file"),
    ):
        ran = maskrt("serve", *words)
        assert (ran.code, expected in ran.err) == (2, True), ran.err


def test_a_model_that_fails_on_its_first_picture_is_not_served(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    maskrt: Callable[..., Ran],
) -> None:
    """0 / 0 for a black one."""
    nan = TINY_GRAPH.replace("Div (brightest, full_scale)", "Div (brightest, brightest)")
    model = onnx.parser.parse_model(nan)
    onnx.helper.set_model_props(model, {METADATA_KEY: tiny_contract.to_json()})
    path = write_onnx(None)
    onnx.save(model, str(path))
    ran = maskrt("serve", path, "--port", 0)
    assert (ran.code, "NaN" in ran.err) == (2, True), ran.err


def test_models_are_named_by_file_session_and_options() -> None:
    models = ["a/net.onnx", "net.onnx@openvino,threads=4", "lsc_mask_rcnn_tiny"]
    assert [*named(models)] == ["net", "net-openvino-threads-4", "lsc_mask_rcnn_tiny"]
    with pytest.raises(InputError, match=r"the name 'net' is a/net\.onnx's"):
        named(["a/net.onnx", "b/net.onnx"])
