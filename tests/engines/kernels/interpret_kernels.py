"""Run the Triton kernels in Triton's interpreter: `interpret_kernels.py CASES.npz RESULTS.npz`.

A process of its own, because TRITON_INTERPRET=1 must be set before triton is imported. A case is
the arrays "NAME.first" and "NAME.second", with "NAME.scalars" what follows them in the kernel's
arguments and "NAME.product" how FP32 products are made ("" for the window kernel). The
kernel of a pyramid has more scalars than that of a map.

A case of the kernels around a network has "NAME.kernel" instead, with "NAME.grid", "NAME.output" as
it is before the kernel, and no "NAME.second" where the kernel has one input.
"""

import dataclasses
import sys

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

from maskrt.engines.kernels import mask_kernels, picture_kernel
from maskrt.engines.kernels.pyramid_roi_align_kernel import LEVELS as PYRAMID_LEVELS
from maskrt.engines.kernels.pyramid_roi_align_kernel import pyramid_roi_align
from maskrt.engines.kernels.roi_align_kernel import CHANNELS, TILE, roi_align
from maskrt.engines.kernels.window_align_kernel import CELLS, LEVELS, WORDS, window_align

AROUND = {
    "place_picture": (picture_kernel.place_picture, (picture_kernel.ROWS, picture_kernel.BYTES)),
    "paste_masks": (mask_kernels.paste_masks, (mask_kernels.COLUMNS, mask_kernels.ROWS)),
    "mark_runs": (mask_kernels.mark_runs, (mask_kernels.WORDS,)),
}


def mend_interpreter() -> None:
    """Make Triton 3.6's interpreter work with NumPy 2.4, and thirty times faster."""
    set_attr = interpreter._LangPatchScope.set_attr

    def with_item(scope, owner, name, value):
        # int() of an array of one element, which range() needs here, is an error since NumPy 2.4
        index = (lambda tensor: tensor.handle.data.item()) if name == "__index__" else value
        set_attr(scope, owner, name, index)

    interpreter._LangPatchScope.set_attr = with_item
    # it patches the whole language again at every call of one jit function by another
    interpreter._patch_lang(roi_align.fn)
    interpreter._patch_lang(tl.cdiv.fn)
    interpreter._patch_lang = lambda _: interpreter._LangPatchScope()
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


def run_roi_align(features, rois, scalars, product):
    batch, boxes, channels, _, _, bins, _, step = scalars[:8]
    slots, side = batch * boxes, -(-bins // step)
    # NaN shows what the kernel did not write
    output = torch.full((slots, channels, side, side), torch.nan, dtype=features.dtype)
    grid = (max(slots, 1), -(-channels // CHANNELS), (-(-side // TILE)) ** 2)
    roi_align[grid](features, rois, *scalars, output, CHANNELS, TILE, product)
    return output


def run_pyramid_roi_align(atlas, rois, scalars, product):
    batch, boxes, channels, _, _, bins = scalars[:6]
    levels = tuple(scalars[8:])
    output = torch.full((batch * boxes, channels, bins, bins), torch.nan, dtype=atlas.dtype)
    grid = (max(batch * boxes, 1), -(-channels // CHANNELS), (-(-bins // TILE)) ** 2)
    blocks = (CHANNELS, TILE, product, PYRAMID_LEVELS)
    pyramid_roi_align[grid](atlas, rois, *scalars[:8], levels, output, *blocks)
    return output


def run_window_align(pyramid, index, scalars):
    batch, slots, _, words, size = scalars[:5]
    shapes = tuple(scalars[5:])
    output = torch.full((batch * slots, size, size, words), -1, dtype=torch.int32)
    grid = (max(batch * slots, 1), -(-(size**2) // CELLS))
    window_align[grid](pyramid, index, *scalars[:5], shapes, output, LEVELS, CELLS, WORDS)
    return output


def run_around(name, inputs, scalars, grid, output):
    """A kernel before or after a network; `output` is written."""
    kernel, blocks = AROUND[name]
    kernel[grid](*inputs, *scalars, output, *blocks)
    return output


def main(cases_path: str, results_path: str) -> None:
    mend_interpreter()
    cases = dict(np.load(cases_path))
    results = {}
    for name in sorted({key.rpartition(".")[0] for key in cases}):
        parts = [f"{name}.{part}" for part in ("first", "second")]
        inputs = [torch.from_numpy(cases[part]) for part in parts if part in cases]
        scalars = [int(n) for n in cases[f"{name}.scalars"]]
        if f"{name}.kernel" in cases:
            grid = tuple(int(n) for n in cases[f"{name}.grid"])
            output = torch.from_numpy(cases[f"{name}.output"])
            kernel = str(cases[f"{name}.kernel"])
            results[name] = run_around(kernel, inputs, scalars, grid, output).numpy()
            continue
        first, second = inputs
        product = str(cases[f"{name}.product"])
        if product and len(scalars) > 9:
            found = run_pyramid_roi_align(first, second, scalars, product)
        elif product:
            found = run_roi_align(first, second, scalars, product)
        else:
            found = run_window_align(first, second, scalars)
        results[name] = found.numpy()
    np.savez(results_path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
