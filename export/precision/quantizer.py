"""onnxruntime.quantization with its options chosen and pictures fed to it.

What onnxruntime.quantization 1.22 to 1.31 keeps, found by experiment and asserted by tests: local
functions (`MaskrtRoiAlign`, `MaskrtWindowAlign`) as nodes with all attributes and their bodies, the
contract in `metadata_props`, node metadata `namespace`. It adds a metadata entry of its own and its
producer name, which are taken out. Three traps are avoided by int8.py: an empty list of layers
means "all of them" to it, a weight that is computed from a stored one is rounded per tensor at run
time, and the factor of a Gemm's bias is overwritten with 1.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import shape_inference

from ...runtime.contract import Contract
from ...runtime.pictures.preprocess import place_on_canvas, read_image
from .policy import LAYERS


class CalibrationReader:
    """Pictures on canvases as the quantizer asks for them, with a bar on standard error.

    It hands out the ranges it is given one after the other, so that one picture's activations are
    in memory at a time.
    """

    def __init__(self, contract: Contract, pictures: Sequence[Path]) -> None:
        self._contract = contract
        self._pictures = pictures
        self._batches = -(-len(pictures) // contract.batch)
        self._next, self._end = 0, self._batches
        self.tell: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return self._batches

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these batches next."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, Any] | None:
        """The next batch's inputs by name; None where the range ends."""
        if self._next == self._end:
            return None
        first = self._next * self._contract.batch
        # The last batch is filled up with the first pictures: no black canvas is calibrated on.
        chosen = [(first + i) % len(self._pictures) for i in range(self._contract.batch)]
        images = [read_image(self._pictures[i]) for i in chosen]
        canvases, sizes = place_on_canvas(images, self._contract)
        self._next += 1
        self.tell()
        return {"images": canvases, "image_sizes": sizes}


def quantized(
    model: onnx.ModelProto, names: list[str], reader: CalibrationReader
) -> onnx.ModelProto:
    """A copy of an FP32 model with Q/DQ before the layers of these names, which must be some.

    Activation ranges come from the reader's pictures.
    """
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder, _told(reader):
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(_marked(model), source)
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(LAYERS),
            nodes_to_quantize=names,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # Of the values, 99.999 % lie inside the range. With every layer in INT8 the greatest
            # change was 0.19 points in LSC tiny and 0.26 in FastMask tiny. MinMax (0.37) and
            # 99.99 % (0.32) fail FastMask's gate of 0.3, Entropy (0.29) all but fails LSC's.
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": sorted(LAYERS),
                "CalibPercentile": 99.999,
                "CalibStridedMinMax": 1,
            },
        )
        result = onnx.load(target)
    del result.metadata_props[:]
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result


def _marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says its shapes are inferred, or the quantizer warns that they may not be."""
    marked = shape_inference.infer_shapes(model)
    marked.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return marked


@contextlib.contextmanager
def _told(reader: CalibrationReader) -> Iterator[None]:
    """A bar over the pictures in place of what the quantizer prints on standard output."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("INT8: ranges of layer inputs", total=len(reader))
        reader.tell = lambda: bar.advance(task)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
