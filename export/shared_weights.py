"""Weights of several graphs in one file beside them (ONNX external data), equal bytes once.

Graphs of one network at different canvases differ in anchors, windows and masks of cells and agree
in every weight. Each tensor starts at a page, so that runtimes can map the file into memory; what
is smaller than a page stays in its graph.

Source: onnx/onnx.proto, `TensorProto.external_data`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

PAGE_BYTES = 4096


class SharedWeights:
    """The file, which grows with every graph that puts its weights there."""

    def __init__(self, path: Path) -> None:
        """An empty file at `path`; graphs must lie in the same folder."""
        self.path = path
        self._offsets: dict[bytes, int] = {}
        self._end = 0
        path.write_bytes(b"")

    def without_weights(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of `model` whose large initializers are in the file; `model` is left alone."""
        light = onnx.ModelProto()
        light.CopyFrom(model)
        with self.path.open("ab") as out:
            for tensor in light.graph.initializer:
                data = _bytes_of(tensor)
                if len(data) < PAGE_BYTES:
                    continue
                key = hashlib.sha256(data).digest()
                if key not in self._offsets:
                    self._offsets[key] = self._end
                    out.write(data + bytes(-len(data) % PAGE_BYTES))
                    self._end = out.tell()
                _point_to(tensor, self.path.name, self._offsets[key], len(data))
        return light


def _bytes_of(tensor: TensorProto) -> bytes:
    """Little-endian and without padding, as raw and external data are."""
    return tensor.raw_data or numpy_helper.to_array(tensor).tobytes()


def _point_to(tensor: TensorProto, file: str, offset: int, length: int) -> None:
    bare = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    bare.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
        bare.external_data.add(key=key, value=value)
    tensor.CopyFrom(bare)
