"""OpenVINO as a session: real models on this CPU."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from maskrt.runtime.contract import METADATA_KEY, Contract
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.sessions import openvino_session
from maskrt.runtime.sessions.openvino_session import OpenVinoSession

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

Writer = Callable[[str | None], Path]
SIZES = np.array([[16, 48], [32, 20]], np.int32)
IMAGES = np.zeros((2, 32, 48, 3), np.uint8)

# Boxes are computed before the last layer, where OpenVINO's own rule would make them BF16; `layer`
# is FP16 in the file.
ISLAND_GRAPH = """
<ir_version: 8, opset_import: ["" : 17, "maskrt" : 1]>
island (uint8[2, 32, 48, 3] images, int32[2, 2] image_sizes) =>
    (float[2, 3, 4] boxes, float[2, 3] scores, int32[2, 3] labels, float[2, 3, 4, 4] masks,
     int32[2] counts)
<
    float[2, 12] corners = {1, 0, 0, 1,  0, 0.5, 0, 1,  0, 0, 0, 0,
                            0, 1, 1, 0,  0.5, 0, 1, 0,  0, 0, 0, 0},
    float16[12, 3] weights = {1, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0,
                              0, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0,  0, 0, 0},
    float[1] stretch = {1.0123},
    int64[3] boxes_shape = {2, 3, 4},
    int64[4] masks_shape = {2, 3, 4, 4},
    float[1] one = {1},
    int32[2, 3] label_values = {1, 0, 0, 1, 0, 0},
    int32[2] count_values = {2, 2},
    int64[1] axis = {1}
>
{
    sizes = Cast <to = 1> (image_sizes)
    stretched = maskrt.Stretch (sizes, stretch)
    flat = MatMul (stretched, corners)
    boxes = Reshape (flat, boxes_shape)
    half = Cast <to = 10> (flat)
    layer = MatMul (half, weights)
    products = Cast <to = 1> (layer)
    pixels = Cast <to = 1> (images)
    brightest = ReduceMax <axes = [1, 2, 3], keepdims = 0> (pixels)
    column = Unsqueeze (brightest, axis)
    scores = Add (products, column)
    labels = Identity (label_values)
    masks = Expand (one, masks_shape)
    counts = Identity (count_values)
}
<domain: "maskrt", opset_import: ["" : 17]> Stretch (x, by) => (y) { y = Mul (x, by) }
"""


@pytest.fixture
def session(write_onnx: Writer, tiny_contract: Contract) -> OpenVinoSession:
    return OpenVinoSession(write_onnx(tiny_contract.to_json()), threads=1)


@pytest.fixture
def half_path(tmp_path: Path, tiny_contract: Contract) -> Path:
    model = onnx.parser.parse_model(ISLAND_GRAPH)
    text = dataclasses.replace(tiny_contract, precision="fp16").to_json()
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, str(tmp_path / "half.onnx"))
    return tmp_path / "half.onnx"


def test_a_batch_gives_the_contracts_outputs(
    session: OpenVinoSession, tiny_contract: Contract
) -> None:
    assert session.contract == tiny_contract
    assert str(session.backend) == "openvino-cpu"
    images = IMAGES.copy()
    images[0, 3, 4, 1] = 51
    outputs = session.run(images, SIZES)
    assert {name: (array.shape, array.dtype.name) for name, array in outputs.items()} == {
        spec.name: (spec.shape, spec.dtype) for spec in session.contract.outputs
    }
    assert outputs["boxes"][0, :2].tolist() == [[0, 0, 48, 16], [24, 8, 48, 16]]
    assert outputs["scores"][:, 0].tolist() == pytest.approx([0.2, 0.0])


def boxes_of(path: Path) -> np.ndarray:
    return OpenVinoSession(path).run(IMAGES, SIZES)["boxes"]


def exact_boxes() -> np.ndarray:
    height, width = (SIZES * np.float32(1.0123)).T
    none = np.zeros(2)
    slots = [[height, width, width, height], [width / 2, height / 2, width, height], [none] * 4]
    return np.array(slots).transpose(2, 0, 1)


def test_what_the_file_keeps_in_fp32_stays_exact_in_bf16(
    half_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OpenVinoSession(half_path).backend
    if backend.precision != "bf16":
        assert str(backend) == "openvino-cpu"
        pytest.skip("this CPU does not multiply BF16")
    np.testing.assert_allclose(boxes_of(half_path), exact_boxes(), rtol=1e-6)
    # OpenVINO alone would round them to 8 bits
    monkeypatch.setattr(openvino_session, "with_islands", lambda _, __, model: model)
    assert np.abs(boxes_of(half_path) - exact_boxes()).max() > 0.01


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(SessionError, match=r"x\.onnx: not a readable ONNX model"):
        OpenVinoSession(tmp_path / "x.onnx")


def test_a_file_without_a_contract_is_refused(write_onnx: Writer) -> None:
    with pytest.raises(InputError, match="without a maskrt contract"):
        OpenVinoSession(write_onnx(None))


def test_an_operator_openvino_lacks_is_named(half_path: Path) -> None:
    model = onnx.load(str(half_path))
    del model.functions[:]
    onnx.save(model, str(half_path))
    with pytest.raises(SessionError, match=r"half\.onnx: OpenVINO cannot run it .*Stretch"):
        OpenVinoSession(half_path)


def test_without_openvino_the_pip_line_is_named(
    write_onnx: Writer, tiny_contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx(tiny_contract.to_json())
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[openvino\]"'):
        OpenVinoSession(path)


LET_GO = """
import gc, os, signal, sys, threading
from maskrt.runtime.sessions.openvino_session import OpenVinoSession

held = [OpenVinoSession(sys.argv[1])]

def let_go():
    held.pop().close()
    gc.collect()

other = threading.Thread(target=let_go)
other.start()
other.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_arrives_after_another_thread_let_a_session_go(
    write_onnx: Writer, tiny_contract: Contract
) -> None:
    path = write_onnx(tiny_contract.to_json())
    done = subprocess.run(
        [sys.executable, "-c", LET_GO, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
