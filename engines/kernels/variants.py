"""Every kernel that is shipped: its function, the types it takes, the sizes of its blocks."""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import (
    mask_kernels,
    picture_kernel,
    pyramid_roi_align_kernel,
    roi_align_kernel,
    window_align_kernel,
)

# Feature types, and how FP32 products with them are made on tensor cores.
FLOATS = {"fp16": "halves", "fp32": "tf32x3"}


@dataclass(frozen=True)
class Variant:
    """A kernel for one dtype."""

    name: str
    function: Any
    types: dict[str, Any]
    """Triton's types of the arguments that are not int32 scalars."""
    constants: dict[str, int]
    product: str | None
    """How products are made on tensor cores; None where none are used."""
    warps: int
    fused: bool = True
    """Whether a product and a sum may be rounded once. Not where numpy's results are to be met."""


def variants() -> tuple[Variant, ...]:
    """Every kernel that is shipped."""
    roi, window = roi_align_kernel, window_align_kernel
    tiles = {"CHANNELS": roi.CHANNELS, "TILE": roi.TILE}
    roi_types = {d: {"features": f"*{d}", "rois": "*fp32", "output": f"*{d}"} for d in FLOATS}
    window_types = {"pyramid": "*i32", "index": "*i64", "output": "*i32"}
    window_types["shapes"] = ("i32",) * (2 * window.LEVELS)  # type: ignore[assignment]
    blocks = {"LEVELS": window.LEVELS, "CELLS": window.CELLS, "WORDS": window.WORDS}
    return (
        *(
            Variant(f"roi_align_{d}", roi.roi_align, roi_types[d], tiles, product, roi.WARPS)
            for d, product in FLOATS.items()
        ),
        *pyramid_variants(),
        Variant("window_align", window.window_align, window_types, blocks, None, window.WARPS),
        *picture_variants(),
    )


def pyramid_variants() -> tuple[Variant, ...]:
    """RoIAlign over an atlas, in tiles as on one map."""
    pyramid, roi = pyramid_roi_align_kernel, roi_align_kernel
    blocks = {"CHANNELS": roi.CHANNELS, "TILE": roi.TILE, "LEVELS": pyramid.LEVELS}
    levels = ("i32",) * (4 * pyramid.LEVELS)
    function, made = pyramid.pyramid_roi_align, []
    for dtype, product in FLOATS.items():
        types: dict[str, Any] = {"atlas": f"*{dtype}", "rois": "*fp32", "output": f"*{dtype}"}
        types["levels"] = levels
        name = f"pyramid_roi_align_{dtype}"
        made.append(Variant(name, function, types, blocks, product, roi.WARPS))
    return tuple(made)


def picture_variants() -> tuple[Variant, ...]:
    """The kernels around a network: pictures in, masks out."""
    picture, mask = picture_kernel, mask_kernels
    placed = {"picture": "*u8", "canvas": "*u8"}
    pasted = {"masks": "*fp32", "boxes": "*fp32", "pixels": "*u8"}
    marked = {"masks": "*u8", "marks": "*i32"}
    canvas_tile = {"ROWS": picture.ROWS, "BYTES": picture.BYTES}
    mask_tile = {"COLUMNS": mask.COLUMNS, "ROWS": mask.ROWS}
    place, paste, mark = picture.place_picture, mask.paste_masks, mask.mark_runs
    return (
        Variant("place_picture", place, placed, canvas_tile, None, picture.WARPS, fused=False),
        Variant("paste_masks", paste, pasted, mask_tile, None, mask.WARPS, fused=False),
        Variant("mark_runs", mark, marked, {"WORDS": mask.WORDS}, None, mask.WARPS),
    )


def arguments(variant: Variant) -> list[str]:
    """The kernel's parameters in order, a tuple's members one by one."""
    names = []
    for name in variant.function.arg_names:
        kind = variant.types.get(name, "i32")
        many = len(kind) if isinstance(kind, tuple) else 0
        names += [f"{name}.{i}" for i in range(many)] if many else [name]
    return [name for name in names if not name.isupper()]
