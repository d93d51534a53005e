"""A folder for DeepStream: the engine, two configurations, class names and the parser's source.

    model.engine            what runs
    config_preprocess.txt   Gst-nvdspreprocess: frames to uint8 RGB canvases, top left
    config_infer.txt        Gst-nvinfer: the canvases from there, objects by the parser
    labels.txt              class names
    parser.cpp, canvas.h    the parser; its first lines say how it is compiled

nvinfer's own preprocessing gives floats with channels first; this graph takes bytes, normalizes
itself and wants the valid size of each canvas, which frames of one size have in common.

A frame fills the canvas as far as its aspect ratio lets it, as nvdspreprocess scales; `predict`
obeys the contract's resize rule, so that objects can differ a little. Never run inside DeepStream.

Source: DeepStream 7 Plugin Guide, Gst-nvinfer and Gst-nvdspreprocess, "File Configuration".
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.files import require_file
from ...runtime.sidecar import read_sidecar
from ...runtime.whole_folder import whole_folder

PARSER = Path(__file__).with_name("parser.cpp")
INSTALLED = "/opt/nvidia/deepstream/deepstream/lib/gst-plugins"


def write_folder(engine: Path, out: Path, frame_hw: tuple[int, int]) -> Contract:
    """Write the folder; returns the engine's contract.

    Args:
        engine: an engine of TensorRT; its sidecar beside it.
        out: a folder that is not there, or empty.
        frame_hw: height and width in pixels of the frames, as nvstreammux gives them.

    Raises:
        InputError: no engine of TensorRT, or `out` cannot be written or holds something.
        SessionError: the engine has no sidecar.
    """
    require_file(engine, "what nvinfer runs", (".engine",))
    sidecar = read_sidecar(engine)
    if sidecar.fingerprint.runtime != "tensorrt":
        raise InputError(
            f"{engine}: an engine for {sidecar.fingerprint.runtime}; expected one for tensorrt, "
            "which DeepStream runs. Build it with --runtime tensorrt."
        )
    contract = sidecar.contract
    with whole_folder(out) as folder:
        shutil.copyfile(engine, folder / "model.engine")
        shutil.copyfile(PARSER, folder / PARSER.name)
        for name, text in _texts(contract, frame_hw).items():
            (folder / name).write_text(text, encoding="utf-8")
    return contract


def valid_size(canvas_hw: tuple[int, int], frame_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels that a frame takes on the canvas, its aspect ratio kept.

    Source: gst-nvdspreprocess, `maintain-aspect-ratio`: one side of the canvas is filled, the other
    rounded down.
    """
    (height, width), (frame_height, frame_width) = canvas_hw, frame_hw
    filled = frame_height * width // frame_width
    if filled <= height:
        return max(1, filled), width
    return height, max(1, frame_width * height // frame_height)


def _texts(contract: Contract, frame_hw: tuple[int, int]) -> dict[str, str]:
    height, width = valid_size(contract.canvas_hw, frame_hw)
    return {
        "config_preprocess.txt": _preprocess(contract),
        "config_infer.txt": _infer(contract),
        "labels.txt": "".join(f"{name}\n" for name in contract.class_names),
        "canvas.h": f"#define VALID_HEIGHT {height}\n#define VALID_WIDTH {width}\n",
    }


def _preprocess(contract: Contract) -> str:
    height, width = contract.canvas_hw
    return f"""\
[property]
enable=1
unique-id=5
target-unique-ids=1
process-on-frame=1
# NHWC, uint8, RGB, the picture at the top left: normalization is in the graph
network-input-order=1
network-input-shape={contract.batch};{height};{width};3
tensor-data-type=1
network-color-format=0
tensor-name=images
processing-width={width}
processing-height={height}
maintain-aspect-ratio=1
symmetric-padding=0
scaling-filter=1
scaling-buf-pool-size=6
tensor-buf-pool-size=6
scaling-pool-memory-type=0
scaling-pool-compute-hw=0
custom-lib-path={INSTALLED}/libcustom2d_preprocess.so
custom-tensor-preparation-function=CustomTensorPreparation

[user-configs]
pixel-normalization-factor=1
offsets=0;0;0

[group-0]
src-ids={";".join(map(str, range(contract.batch)))}
process-on-roi=0
custom-input-transformation-function=CustomAsyncTransformation
"""


def _infer(contract: Contract) -> str:
    masked = contract.task != "detection"
    parser = "parse-bbox-instance-mask-func-name=MaskrtParseInstances"
    masks = f"output-instance-mask=1\nsegmentation-threshold={contract.mask_threshold:g}\n{parser}"
    return f"""\
[property]
gie-unique-id=1
model-engine-file=model.engine
batch-size={contract.batch}
input-tensor-from-meta=1
# {"instance segmentation" if masked else "detection"}, each class's doubles suppressed in the graph
network-type={3 if masked else 0}
cluster-mode=4
num-detected-classes={len(contract.class_names)}
labelfile-path=labels.txt
custom-lib-path=libmaskrt_parser.so
{masks if masked else "parse-bbox-func-name=MaskrtParseBoxes"}

[class-attrs-all]
pre-cluster-threshold=0.5
"""
