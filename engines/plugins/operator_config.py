"""What TensorRT's plugins know of the operators: attributes, shapes, launches.

A node says what it computes in one string, `cfg`: the only kind of attribute that every version of
TensorRT and NumPy hands on unharmed. Written by `export`, read here. Sizes may be ints, for checks
beforehand, or TensorRT's symbolic expressions, which know fewer operations: `Arithmetic`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import BuildError
from ...runtime.gpu.kernels.launch import Launch
from ...runtime.gpu.kernels.shipped import Kernel

NAMESPACE = "maskrt"
ROI_ALIGN = "MaskrtRoiAlign"
PYRAMID_ROI_ALIGN = "MaskrtPyramidRoiAlign"
WINDOW_ALIGN = "MaskrtWindowAlign"

# The stride of a spatial scale that went through a float32 attribute.
SCALE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Arithmetic:
    """The operations on sizes that are not operators of a symbolic expression."""

    cdiv: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]


INTEGERS = Arithmetic(cdiv=lambda a, b: -(-a // b), maximum=max)


@dataclass(frozen=True)
class RoiAlignCfg:
    """What a `MaskrtRoiAlign` node computes."""

    output_size: int
    """Bins per side of a box."""
    sampling_ratio: int
    """Samples per bin and side; 0 is adaptive."""
    bin_step: int
    """Every such bin is made."""
    stride_px: int
    """Canvas pixels per cell."""

    @property
    def side(self) -> int:
        """Q, bins per side that are made."""
        side: int = INTEGERS.cdiv(self.output_size, self.bin_step)
        return side

    def output_shape(self, features: Sequence[Any], rois: Sequence[Any]) -> tuple[Any, ...]:
        """(B * K, C, Q, Q) of (B, C, H, W) and (B, K, 4)."""
        return rois[0] * rois[1], features[1], self.side, self.side

    def kernel_name(self, half: bool) -> str:
        """The kernel for FP16 or FP32 features."""
        return "roi_align_fp16" if half else "roi_align_fp32"

    def launch(
        self,
        kernel: Kernel,
        features: Sequence[Any],
        rois: Sequence[Any],
        half: bool,
        arithmetic: Arithmetic = INTEGERS,
    ) -> Launch:
        """The launch of `kernel` for these input shapes."""
        tiles: int = INTEGERS.cdiv(self.side, kernel.blocks["TILE"])
        grid = (
            arithmetic.maximum(rois[0] * rois[1], 1),
            arithmetic.cdiv(features[1], kernel.blocks["CHANNELS"]),
            tiles**2,
        )
        attributes = (self.output_size, self.sampling_ratio, self.bin_step, self.stride_px)
        return Launch(grid, (rois[0], rois[1], *features[1:], *attributes))


@dataclass(frozen=True)
class PyramidRoiAlignCfg:
    """What a `MaskrtPyramidRoiAlign` node computes."""

    output_size: int
    """Bins per side of a box."""
    sampling_ratio: int
    """Samples per bin and side; 0 is adaptive."""
    aligned: bool
    levels: tuple[tuple[int, int], ...]
    """Height and width of each level, finest first."""
    strides_px: tuple[int, ...]
    """Canvas pixels per cell of each level."""
    borders_px2: tuple[float, ...]
    """Areas of boxes from which on the next level is theirs, float32 values."""

    def output_shape(self, atlas: Sequence[Any], rois: Sequence[Any]) -> tuple[Any, ...]:
        """(B * K, C, P, P) of (B, C, R, V) and (B, K, 4)."""
        return rois[0] * rois[1], atlas[1], self.output_size, self.output_size

    def kernel_name(self, half: bool) -> str:
        """The kernel for an FP16 or FP32 atlas."""
        return "pyramid_roi_align_fp16" if half else "pyramid_roi_align_fp32"

    def launch(
        self,
        kernel: Kernel,
        atlas: Sequence[Any],
        rois: Sequence[Any],
        half: bool,
        arithmetic: Arithmetic = INTEGERS,
    ) -> Launch:
        """The launch of `kernel` for these input shapes.

        Raises:
            BuildError: more levels than the kernel has arguments for.
        """
        tiles: int = INTEGERS.cdiv(self.output_size, kernel.blocks["TILE"])
        grid = (
            arithmetic.maximum(rois[0] * rois[1], 1),
            arithmetic.cdiv(atlas[1], kernel.blocks["CHANNELS"]),
            tiles**2,
        )
        attributes = (self.output_size, self.sampling_ratio, int(self.aligned))
        levels = self._levels_for(kernel)
        return Launch(grid, (rois[0], rois[1], *atlas[1:], *attributes, *levels))

    def _levels_for(self, kernel: Kernel) -> list[int]:
        """Height, width, stride and border's bits of every level that the kernel has room for."""
        room = kernel.blocks["LEVELS"]
        _require_room(PYRAMID_ROI_ALIGN, len(self.levels), room)
        bits = [struct.unpack("<i", struct.pack("<f", area))[0] for area in (0, *self.borders_px2)]
        rows = zip(self.levels, self.strides_px, bits, strict=True)
        numbers = [n for level, stride, border in rows for n in (*level, stride, border)]
        return numbers + [0] * (4 * room - len(numbers))


@dataclass(frozen=True)
class WindowAlignCfg:
    """What a `MaskrtWindowAlign` node computes."""

    size: int
    """Cells per side of a window."""
    levels: tuple[tuple[int, int], ...]
    """Height and width of each level."""

    def output_shape(self, pyramid: Sequence[Any], index: Sequence[Any]) -> tuple[Any, ...]:
        """(B * K, size, size, C) of (B, N, C) and (B, K)."""
        return index[0] * index[1], self.size, self.size, pyramid[2]

    def kernel_name(self, half: bool) -> str:
        """One kernel moves both FP16 and FP32."""
        return "window_align"

    def launch(
        self,
        kernel: Kernel,
        pyramid: Sequence[Any],
        index: Sequence[Any],
        half: bool,
        arithmetic: Arithmetic = INTEGERS,
    ) -> Launch:
        """The launch of `kernel` for these input shapes.

        Raises:
            BuildError: more levels than the kernel has arguments for.
        """
        room = kernel.blocks["LEVELS"]
        _require_room(WINDOW_ALIGN, len(self.levels), room)
        words = pyramid[2] // 2 if half else pyramid[2]
        shapes = [side for level in self.levels for side in level]
        shapes += [0] * (2 * room - len(shapes))
        blocks: int = INTEGERS.cdiv(self.size**2, kernel.blocks["CELLS"])
        grid = (arithmetic.maximum(index[0] * index[1], 1), blocks, 1)
        return Launch(grid, (index[0], index[1], pyramid[1], words, self.size, *shapes))


def parse_roi_align(text: str) -> RoiAlignCfg:
    """Read "oh=14;ow=14;sr=2;step=1;scale=0.0625;aligned=1".

    Raises:
        BuildError: broken, or something the kernel does not compute.
    """
    text = text.rstrip("\0")  # TensorRT's own end of a string
    fields = _fields(ROI_ALIGN, text, ("oh", "ow", "sr", "step", "scale", "aligned"))
    try:
        bins, wide, ratio, step = (int(fields[key]) for key in ("oh", "ow", "sr", "step"))
        scale, aligned = float(fields["scale"]), int(fields["aligned"])
    except ValueError as err:
        raise _broken(ROI_ALIGN, text, "whole numbers, and a number as scale") from err
    stride = round(1 / scale) if scale > 0 else 0
    if bins != wide or min(bins, step) < 1 or ratio < 0 or aligned != 1:
        raise _broken(
            ROI_ALIGN,
            text,
            "oh = ow of at least 1, sr of at least 0, step of at least 1, aligned 1",
        )
    if stride < 1 or abs(scale * stride - 1) > SCALE_TOLERANCE:
        raise _broken(ROI_ALIGN, text, "a scale of one divided by a whole number")
    return RoiAlignCfg(bins, ratio, step, stride)


def parse_pyramid_roi_align(text: str) -> PyramidRoiAlignCfg:
    """Read "size=7;sr=2;aligned=1;shapes=200x336,100x168;strides=4,8;borders=12544.0".

    Raises:
        BuildError: broken.
    """
    text = text.rstrip("\0")
    names = ("size", "sr", "aligned", "shapes", "strides", "borders")
    fields = _fields(PYRAMID_ROI_ALIGN, text, names)
    try:
        bins, ratio, aligned = (int(fields[key]) for key in names[:3])
        levels = _shapes(fields["shapes"])
        strides = tuple(int(n) for n in fields["strides"].split(","))
        borders = tuple(float(area) for area in fields["borders"].split(","))
    except ValueError as err:
        expected = "whole numbers, shapes as HxW,HxW, strides and areas with commas between"
        raise _broken(PYRAMID_ROI_ALIGN, text, expected) from err
    together = len(levels) == len(strides) == len(borders) + 1
    least = min(bins, *strides, *(min(level) for level in levels))
    if not together or least < 1 or ratio < 0 or aligned not in (0, 1):
        expected = (
            "size of at least 1, sr of at least 0, aligned 0 or 1, a shape and a stride of at least"
            " 1 for each level and a border between two"
        )
        raise _broken(PYRAMID_ROI_ALIGN, text, expected)
    return PyramidRoiAlignCfg(bins, ratio, bool(aligned), levels, strides, borders)


def parse_window_align(text: str) -> WindowAlignCfg:
    """Read "size=10;shapes=50x76,34x51".

    Raises:
        BuildError: broken.
    """
    text = text.rstrip("\0")
    fields = _fields(WINDOW_ALIGN, text, ("size", "shapes"))
    try:
        size = int(fields["size"])
        levels = _shapes(fields["shapes"])
    except ValueError as err:
        raise _broken(WINDOW_ALIGN, text, "whole numbers, and shapes as HxW,HxW") from err
    if size < 2 or size % 2 or min(min(level) for level in levels) < 1:
        raise _broken(WINDOW_ALIGN, text, "an even size and shapes of at least 1x1")
    return WindowAlignCfg(size, levels)


# What reads a node's cfg, and which inputs its kernels take, as numpy names the types.
OperatorCfg = RoiAlignCfg | PyramidRoiAlignCfg | WindowAlignCfg
PARSERS: dict[str, Callable[[str], OperatorCfg]] = {
    ROI_ALIGN: parse_roi_align,
    PYRAMID_ROI_ALIGN: parse_pyramid_roi_align,
    WINDOW_ALIGN: parse_window_align,
}
FIRST_INPUT = ("float16", "float32")
SECOND_INPUT = {ROI_ALIGN: "float32", PYRAMID_ROI_ALIGN: "float32", WINDOW_ALIGN: "int64"}


def require_types(operator: str, first: str, second: str) -> None:
    """Refuse inputs that the kernels do not read.

    Args:
        operator: as in `PARSERS`.
        first: numpy type name of the features or the pyramid.
        second: of the boxes or the window numbers.

    Raises:
        BuildError: one of them is another type.
    """
    expected = SECOND_INPUT[operator]
    if first not in FIRST_INPUT or second != expected:
        raise BuildError(
            f"{operator}: inputs {first} and {second} found; expected "
            f"{' or '.join(FIRST_INPUT)}, and {expected}. Export it again."
        )


def require_words(channels: int, half: bool) -> None:
    """Refuse a pyramid of `MaskrtWindowAlign` whose cells are not whole 32-bit words.

    Raises:
        BuildError: FP16 with an odd number of channels.
    """
    if half and channels % 2:
        raise BuildError(
            f"{WINDOW_ALIGN}: {channels} FP16 channels found; the kernel moves two at a time. "
            "Build with '--operators portable'."
        )


def _require_room(operator: str, levels: int, room: int) -> None:
    """Refuse more levels than a kernel has arguments for."""
    if levels > room:
        raise BuildError(
            f"{operator}: {levels} levels found; the kernel takes at most {room}."
            " Build with '--operators portable'."
        )


def _shapes(text: str) -> tuple[tuple[int, int], ...]:
    """Levels of "HxW,HxW"; ValueError where it is none."""
    sides = [[int(n) for n in level.split("x")] for level in text.split(",")]
    return tuple((height, width) for height, width in sides)


def _fields(operator: str, text: str, names: tuple[str, ...]) -> dict[str, str]:
    """The `key=value` pairs of a cfg."""
    pairs = [part.partition("=") for part in text.split(";")]
    fields = {key: value for key, _, value in pairs}
    if set(fields) != set(names):
        raise _broken(operator, text, ";".join(f"{name}=.." for name in names))
    return fields


def _broken(operator: str, text: str, expected: str) -> BuildError:
    return BuildError(f"{operator}: cfg '{text}' found; expected {expected}. Export it again.")
