"""The readers of artefacts that are fuzzed: ONNX files, contracts, sidecars, others' weights."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .mutations import mutated_bytes, mutated_json
from .reader import Reader

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (uint8[1, 32, 48, 3] images, int32[1, 2] image_sizes) =>
    (float[1, 1, 4] boxes, float[1, 1] scores, int32[1, 1] labels, float[1, 1, 4, 4] masks,
     int32[1] counts)
<
    float[2, 4] corners = {0, 0, 0, 1, 0, 0, 1, 0}, int64[3] boxes_shape = {1, 1, 4},
    int64[4] masks_shape = {1, 1, 4, 4}, float[1] one = {1}, float[1, 1] sure = {0.9},
    int32[1, 1] label = {0}, int32[1] count = {1}
>
{
    sizes = Cast <to = 1> (image_sizes)
    flat = MatMul (sizes, corners)
    boxes = Reshape (flat, boxes_shape)
    scores = Identity (sure)
    labels = Identity (label)
    masks = Expand (one, masks_shape)
    counts = Identity (count)
}
"""
SPECS = (
    *(("boxes", [1, 1, 4], "float32"), ("scores", [1, 1], "float32"), ("labels", [1, 1], "int32")),
    *(("masks", [1, 1, 4, 4], "float32"), ("counts", [1], "int32")),
)


def contract_json() -> dict[str, Any]:
    """The contract of `GRAPH`."""
    inputs = (("images", [1, 32, 48, 3], "uint8"), ("image_sizes", [1, 2], "int32"))
    return {
        "schema_version": 2,
        "model": "mask_rcnn",
        "variant": "tiny",
        "task": "instances",
        "class_names": ["disc", "star"],
        "canvas_hw": [32, 48],
        "batch": 1,
        "resize": {"short_side_px": 0, "long_side_px": 48, "multiple_px": 1},
        "channel_order": "RGB",
        "mean": [0, 0, 0],
        "std": [1.0, 1.0, 1.0],
        "inputs": [dict(zip(("name", "shape", "dtype"), spec, strict=True)) for spec in inputs],
        "outputs": [dict(zip(("name", "shape", "dtype"), spec, strict=True)) for spec in SPECS],
        "precision": "fp32",
        "operators": [],
        "checkpoint_sha256": "ab",
        "mask_threshold": 0.5,
        "mask_upsampling": 1,
        "measured": {"box_ap": 51.2},
        "versions": {"maskrt": "0.1.0"},
    }


def _write_contract(folder: Path) -> Path:
    path = folder / "contract.json"
    path.write_text(json.dumps(contract_json()))
    return path


def _onnx(contract: str) -> bytes:
    import onnx

    model = onnx.parser.parse_model(GRAPH)
    model.metadata_props.add(key="maskrt.contract", value=contract)
    return bytes(model.SerializeToString())


def _read_contract(folder: Path) -> object:
    """The ONNX file that carries it."""
    text = (folder / "contract.json").read_bytes().decode("utf-8", "replace")
    (folder / "a.onnx").write_bytes(_onnx(text))
    return _read_onnx(folder)


def _write_onnx(folder: Path) -> Path:
    path = folder / "a.onnx"
    path.write_bytes(_onnx(json.dumps(contract_json())))
    return path


def _read_onnx(folder: Path) -> object:
    """Inspect it, as people see it, and predict one picture."""
    import numpy as np

    from ...runtime.predictor import Predictor
    from ...runtime.sessions.open import open_artefact

    _inspected(folder / "a.onnx")
    with Predictor(open_artefact(folder / "a.onnx", "onnxruntime-cpu")) as predictor:
        return predictor.predict([np.full((20, 30, 3), 90, np.uint8)])


def _write_bundle(folder: Path) -> Path:
    """Its index; one file is all graphs, of which a landscape picture opens the first alone."""
    from ...runtime.bundle import INDEX, BundleGraph, BundleIndex
    from ...runtime.files import sha256_of

    graph = _write_onnx(folder)
    entry = (graph.name, sha256_of(graph), graph.stat().st_size)
    canvases = ((32, 48), (48, 32), (48, 48), (48, 64), (64, 48), (64, 64))
    graphs = tuple(BundleGraph(*entry, canvas_hw) for canvas_hw in canvases)
    contract = contract_json()
    same = {key: contract[key] for key in ("model", "variant", "precision", "batch")}
    index = BundleIndex(**same, checkpoint_sha256="ab", graphs=graphs, weights=None)
    (folder / INDEX).write_text(index.to_json())
    return folder / INDEX


def _read_bundle(folder: Path) -> object:
    """Open it and predict one picture."""
    import numpy as np

    from ...workflows import load

    with load(folder / "bundle.json") as predictor:
        return predictor.predict([np.full((20, 30, 3), 90, np.uint8)])


def _inspected(path: Path) -> str:
    from ...cli.arguments import Arguments
    from ...cli.verbs import inspect_file

    with contextlib.redirect_stdout(io.StringIO()) as shown:
        inspect_file.run(Arguments(file=path, gpu=None))
    return shown.getvalue()


def _write_sidecar(folder: Path) -> Path:
    engine = b"no engine, but the bytes of one"
    (folder / "a.engine").write_bytes(engine)
    layers = [["conv", "CONVOLUTION", "float16", 100, ["node"]]]
    summary = {
        "source": "parsed network",
        "layer_count": 1,
        "layers_by_precision": {"float16": 1},
        "fp16_layer_share": 1.0,
        "macs": 100,
        "fp16_mac_share": 1.0,
        "unattributed_macs": 0,
        "layers": layers,
    }
    fingerprint = {
        "onnx_sha256": "cd",
        "runtime": "tensorrt-rtx",
        "tensorrt_version": "1.7.1.116",
        "gpu_name": None,
        "compute_capability": None,
        "options": {"tf32": False},
        "kernels_sha256": {},
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "engine_bytes": len(engine),
        "build_seconds": 1.5,
    }
    build = {"command": "maskrt build a.onnx -o a.engine", "network": summary, "engine": summary}
    path = folder / "a.engine.json"
    path.write_text(
        json.dumps({"contract": contract_json(), "fingerprint": fingerprint, "build": build})
    )
    return path


def _read_sidecar(folder: Path) -> object:
    return _inspected(folder / "a.engine")


def _write_precision(folder: Path) -> Path:
    from ...export.search.certificate import Certificate, MeasuredSet
    from ...export.search.precision_file import PrecisionFile

    measured = MeasuredSet("shapes", "val", 20, "cd", True, {"box AP": 0.1}, {"box AP": (0, 0.2)})
    levels = ("fp16", "int8")
    certificate = Certificate(
        "tiny", "ap", 0.3, 0.9, levels, (measured,), {}, {"int8": 1.0}, {}, 2, 30, ()
    )
    content = PrecisionFile(
        "ab", {"rpn": "int8", "subnet.conv1": "fp16"}, "fp16", {"relu": 6.0}, certificate
    )
    path = folder / "precision.json"
    path.write_text(content.to_json())
    return path


def _read_precision(folder: Path) -> object:
    from ...export.search.precision_file import read_precision_file

    return read_precision_file(folder / "precision.json")


def _write_caffe(folder: Path) -> Path:
    """Two layers of the new format and one of the old, each of two blobs."""
    blob = _field(7, _field(1, bytes((2, 3)))) + _field(5, bytes(24))
    new = _field(1, b"conv1") + _field(7, blob) * 2
    sizes = b"".join(
        bytes((number << 3, size)) for number, size in ((1, 1), (2, 1), (3, 2), (4, 3))
    )
    old = _field(4, b"fc") + _field(6, sizes + _field(5, bytes(24))) * 2
    path = folder / "a.caffemodel"
    path.write_bytes(_field(1, b"net") + _field(100, new) * 2 + _field(2, old))
    return path


def _field(number: int, payload: bytes) -> bytes:
    """One of protobuf's, of less than 128 bytes or of less than 16384."""
    key = number << 3 | 2
    head = bytes((key & 127 | 128, key >> 7)) if key > 127 else bytes((key,))
    size = len(payload)
    return head + (bytes((size & 127 | 128, size >> 7)) if size > 127 else bytes((size,))) + payload


def _read_caffe(folder: Path) -> object:
    from ...train.weights.caffe_model import read_caffemodel

    return read_caffemodel(folder / "a.caffemodel")


def _weights() -> dict[str, Any]:
    import numpy as np

    arrays = {f"layer{i}.weight": np.arange(6, dtype=np.float32).reshape(2, 3) for i in range(3)}
    return {"model": {**arrays, "half": np.ones(2, np.float16)}, "__author__": "somebody"}


def _write_pickle(folder: Path) -> Path:
    path = folder / "a.pkl"
    path.write_bytes(pickle.dumps(_weights(), protocol=2))
    return path


def _write_torch(folder: Path) -> Path:
    import torch

    model = {name: torch.from_numpy(array) for name, array in _weights()["model"].items()}
    torch.save({"model": model, "iteration": 9}, folder / "a.pth")
    return folder / "a.pth"


def _read_weights(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from ...train.weights.import_weights import read_weights

        return read_weights(folder / name)

    return read


def _write_gpus(folder: Path) -> Path:
    path = folder / "a.yaml"
    path.write_text(
        "mine:\n  name: Mine\n  tera_ops: {fp32: 8.1, fp16: 65, int8: 130}\n"
        "  bandwidth_gb_s: 320\n  l2_mib: 4\n  source: a data sheet\n"
    )
    return path


def _read_gpus(folder: Path) -> object:
    from ...export.roofline.gpus import gpus_named

    return gpus_named(str(folder / "a.yaml"))


READERS: dict[str, Reader] = {
    "onnx": Reader(_write_onnx, _read_onnx, mutated_bytes),
    "contract": Reader(_write_contract, _read_contract, mutated_json),
    "bundle": Reader(_write_bundle, _read_bundle, mutated_json),
    "sidecar": Reader(_write_sidecar, _read_sidecar, mutated_json),
    "precision": Reader(_write_precision, _read_precision, mutated_json),
    "gpus": Reader(_write_gpus, _read_gpus, mutated_bytes),
    "caffe": Reader(_write_caffe, _read_caffe, mutated_bytes),
    "pickle": Reader(_write_pickle, _read_weights("a.pkl"), mutated_bytes),
    "torch": Reader(_write_torch, _read_weights("a.pth"), mutated_bytes),
}
