"""A server's model as a session: `maskrt serve` gives what the file gives, others a sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt import load
from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.predictor import Predictor
from maskrt.serving.client.session import RemoteSession

TOKEN = "one two"


@pytest.fixture
def served(
    write_onnx: Callable[[str], Path], tiny_contract: Contract, tmp_path: Path
) -> Iterator[tuple[str, Path]]:
    """The address of a real `maskrt serve` that asks for a token, and the file behind it."""
    pytest.importorskip("uvicorn")
    onnx = write_onnx(tiny_contract.to_json())
    (tmp_path / "token").write_text(TOKEN)
    words = ["serve", str(onnx), "--port", "0", "--token-file", str(tmp_path / "token")]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskrt", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    address = re.match(r"http://\S+", line)
    assert address is not None, line + process.stderr.read()
    # or the pipe is full one day
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield address[0], onnx
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0
    process.stderr.close()


def pictures(count: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 90, (count, 2))
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def test_a_server_gives_what_the_file_gives(
    served: tuple[str, Path], maskrt: Callable[..., Any], tmp_path: Path
) -> None:
    address, onnx = served
    shown = pictures(5)
    with load(onnx) as local, Predictor(RemoteSession(address, "tiny", TOKEN)) as remote:
        assert remote.contract == local.contract
        with ThreadPoolExecutor(3) as pool:  # a session is shared
            answers = list(pool.map(remote.predict, [shown] * 3))
        for found in answers:
            for one, other in zip(local.predict(shown), found, strict=True):
                assert one.to_coco(1) == other.to_coco(1)
    with pytest.raises(SessionError, match=r"answered 401 .*Name the file that holds its token"):
        RemoteSession(address, "tiny")
    with pytest.raises(SessionError, match=r"answered 404 .*Name a model that the server has"):
        RemoteSession(address, "other", TOKEN)
    words = ("--server", address, "--token-file", tmp_path / "token")
    ran = maskrt("predict", "tiny", "shapes.jpg", "--out", tmp_path / "far", *words)
    assert ran.code == 0, ran.err
    assert maskrt("predict", onnx, "shapes.jpg", "--out", tmp_path / "near").code == 0
    near, far = ((tmp_path / name / "results.json").read_bytes() for name in ("near", "far"))
    assert near == far


class Scripted(BaseHTTPRequestHandler):
    """Answers from its server's list, one a request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, body = self.server.answers.pop(0)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        # a server may hang up between two requests without a word
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def scripted() -> Iterator[tuple[str, list[tuple[int, dict[str, str], bytes]]]]:
    """Other servers than ours: an address, and what it is to answer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    answers: list[tuple[int, dict[str, str], bytes]] = []
    server.answers = answers  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()
    thread.join()


def config(contract: Contract) -> bytes:
    text = contract.to_json()
    return json.dumps({"parameters": {"maskrt.contract": {"string_value": text}}}).encode()


def batch(contract: Contract) -> tuple[Any, Any]:
    return np.zeros(contract.inputs[0].shape, np.uint8), np.ones((2, 2), np.int32)


def test_a_full_server_is_asked_again(
    scripted: tuple[str, list[Any]], tiny_contract: Contract
) -> None:
    address, answers = scripted
    full = (503, {"Retry-After": "0"}, b'{"error": "the queue is full"}')
    answers += [full, (200, {}, config(tiny_contract)), *[full] * 3]
    with RemoteSession(address, "tiny", timeout_s=10) as session:
        assert session.contract == tiny_contract
        zeros = [
            {
                "name": spec.name,
                "shape": [*spec.shape],
                "datatype": {"float32": "FP32", "int32": "INT32"}[spec.dtype],
                "data": [0] * int(np.prod(spec.shape)),
            }
            for spec in tiny_contract.outputs
        ]
        answers.append((200, {}, json.dumps({"outputs": zeros}).encode()))
        outputs = session.run(*batch(tiny_contract))  # as JSON: bytes were only asked for
        assert {n: a.dtype.name for n, a in outputs.items()} == {
            spec.name: spec.dtype for spec in tiny_contract.outputs
        }
    answers.append((503, {"Retry-After": "100"}, b'{"error": "the queue is full"}'))
    with pytest.raises(SessionError, match=r"answered 503 \(the queue is full\)"):
        RemoteSession(address, "tiny", timeout_s=10)


def test_a_model_of_others_and_a_wrong_answer_get_a_sentence(
    scripted: tuple[str, list[Any]], tiny_contract: Contract
) -> None:
    address, answers = scripted
    answers.append((200, {}, b'{"name": "resnet", "parameters": {}}'))
    with pytest.raises(SessionError, match=r"no maskrt.contract among its parameters; expected"):
        RemoteSession(address, "resnet")
    wrong = json.dumps(
        {"outputs": [{"name": "boxes", "shape": [1], "datatype": "FP32", "data": [0]}]}
    )
    answers += [(200, {}, config(tiny_contract)), (200, {}, wrong.encode())]
    with (
        RemoteSession(address, "tiny") as session,
        pytest.raises(SessionError, match=r"not the model's outputs \(boxes is \(1,\), not"),
    ):
        session.run(*batch(tiny_contract))
    with pytest.raises(SessionError, match="is closed; expected an open one"):
        session.run(*batch(tiny_contract))


def test_nobody_and_no_address_get_a_sentence() -> None:
    with pytest.raises(SessionError, match=r"no answer \(.*Start one with maskrt serve"):
        RemoteSession("http://127.0.0.1:9", "tiny")
    for address in ("127.0.0.1:8000", "ftp://host", "http://host:port"):
        with pytest.raises(InputError, match="no address of a server; expected one like http://"):
            RemoteSession(address, "tiny")
