"""What TensorRT's plugins know of the operators: attributes, shapes, launches.

A node says what it computes in one string, `cfg`: the only kind of attribute that every version of
TensorRT and NumPy hands on unharmed. Written by `export`, read here. Sizes may be ints, for checks
beforehand, or TensorRT's symbolic expressions, which know fewer operations: `Arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import BuildError
from ...runtime.gpu.kernels.launch import Launch
from ...runtime.gpu.kernels.shipped import Kernel

NAMESPACE = "maskrt"
ROI_ALIGN = "MaskrtRoiAlign"
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
        if len(self.levels) > room:
            raise BuildError(
                f"{WINDOW_ALIGN}: {len(self.levels)} levels found; the kernel takes at most {room}."
                " Build with '--operators portable'."
            )
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


def parse_window_align(text: str) -> WindowAlignCfg:
    """Read "size=10;shapes=50x76,34x51".

    Raises:
        BuildError: broken.
    """
    text = text.rstrip("\0")
    fields = _fields(WINDOW_ALIGN, text, ("size", "shapes"))
    try:
        size = int(fields["size"])
        sides = [[int(n) for n in level.split("x")] for level in fields["shapes"].split(",")]
        levels = tuple((height, width) for height, width in sides)
    except ValueError as err:
        raise _broken(WINDOW_ALIGN, text, "whole numbers, and shapes as HxW,HxW") from err
    if size < 2 or size % 2 or min(min(level) for level in levels) < 1:
        raise _broken(WINDOW_ALIGN, text, "an even size and shapes of at least 1x1")
    return WindowAlignCfg(size, levels)


# What reads a node's cfg, and which inputs its kernels take, as numpy names the types.
PARSERS: dict[str, Callable[[str], RoiAlignCfg | WindowAlignCfg]] = {
    ROI_ALIGN: parse_roi_align,
    WINDOW_ALIGN: parse_window_align,
}
FIRST_INPUT = ("float16", "float32")
SECOND_INPUT = {ROI_ALIGN: "float32", WINDOW_ALIGN: "int64"}


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


def _fields(operator: str, text: str, names: tuple[str, ...]) -> dict[str, str]:
    """The `key=value` pairs of a cfg."""
    pairs = [part.partition("=") for part in text.split(";")]
    fields = {key: value for key, _, value in pairs}
    if set(fields) != set(names):
        raise _broken(operator, text, ";".join(f"{name}=.." for name in names))
    return fields


def _broken(operator: str, text: str, expected: str) -> BuildError:
    return BuildError(f"{operator}: cfg '{text}' found; expected {expected}. Export it again.")
