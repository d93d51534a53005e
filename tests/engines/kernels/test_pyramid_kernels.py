"""Every implementation of `MaskrtPyramidRoiAlign` against its specification."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maskrt.engines.kernels import reference
from maskrt.engines.plugins.operator_config import PyramidRoiAlignCfg
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.kernels.shipped import load_kernel
from maskrt.train.networks.pyramid.roi_align import level_borders, maps_of, pyramid_roi_align

from .test_kernels import FP16_ERROR, FP16_ROUNDING, FP32_ERROR, REACH, run_node, run_on_gpu

Array = npt.NDArray[Any]

LEVELS = ((20, 31), (10, 16), (5, 8), (3, 4))
STRIDES = (4, 8, 16, 32)
BORDERS = level_borders((2, 3, 4, 5), 4, 56, ratio_eps=1e-8)
"""Between levels of boxes of 14, 28 and 56 px, so that all have boxes on this canvas."""


def atlas(channels: int, dtype: type = np.float32) -> Array:
    """(2, C, R, V) of levels in [-1, 1]."""
    rng = np.random.default_rng(channels)
    return joined([rng.uniform(-1, 1, (2, channels, *level)) for level in LEVELS]).astype(dtype)


def joined(maps: Sequence[Array]) -> Array:
    """As the specification puts levels together."""
    widest = max(x.shape[3] for x in maps)
    rows = [np.pad(x, ((0, 0), (0, 0), (0, 1), (0, widest - x.shape[3]))) for x in maps]
    return np.concatenate(rows, axis=2)[:, :, :-1]


def numbered(levels: Sequence[tuple[int, int]]) -> Array:
    """An atlas of one picture and channel whose levels hold 1, 2, .."""
    return joined([np.full((1, 1, *level), n, np.float32) for n, level in enumerate(levels, 1)])


def random_boxes(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """(2, count, 4): of every level, across borders, outside, degenerate, mirrored and huge."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-40, 130, (2, count, 2))
    boxes = np.concatenate([low, low + np.exp(rng.uniform(0, 5, (2, count, 2)))], 2)
    boxes[:, ::10, 2:] = boxes[:, ::10, :2]  # of no area
    boxes[:, 1::20] = boxes[:, 1::20][:, :, [2, 1, 0, 3]]  # mirrored, of a negative area
    boxes[:, 11::20] = boxes[:, 11::20][:, :, [2, 3, 0, 1]]
    boxes[:, 2::20] -= 1000  # beyond the picture
    boxes[:, 3::40] *= 1000  # huge
    boxes[:, 4::40, 2] = boxes[:, 4::40, 0] + 124  # as long as the finest level, and flat
    boxes[:, 4::40, 3] = boxes[:, 4::40, 1] + 1.5
    return boxes.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Pool:
    """One case."""

    atlas: Array
    boxes: Array
    bins: int
    samples: int
    aligned: bool
    product: str = "ieee"

    @property
    def cfg(self) -> PyramidRoiAlignCfg:
        """As a plugin reads it."""
        return PyramidRoiAlignCfg(self.bins, self.samples, self.aligned, LEVELS, STRIDES, BORDERS)

    def want(self) -> Array:
        """The specification's bins."""
        where = (LEVELS, STRIDES, self.samples, BORDERS, self.aligned)
        return reference.pyramid_roi_align(self.atlas, self.boxes, self.bins, *where)


def assert_pooled(found: Array, pool: Pool, want: Array, error: float, rounding: float) -> None:
    """Every bin within `error`, more for boxes that reach far, plus rounding of the output."""
    assert found.shape == want.shape
    assert found.dtype == pool.atlas.dtype
    reach = np.abs(pool.boxes).max(axis=2).reshape(-1, 1, 1, 1) / STRIDES[0]
    allowed = error * np.maximum(1, reach / REACH) + rounding * np.abs(want)
    assert (np.abs(found.astype(np.float64) - want) <= allowed).all()


def run_torch(pool: Pool) -> Array:
    maps = maps_of(torch.tensor(pool.atlas), LEVELS)
    boxes, how = torch.tensor(pool.boxes), (pool.bins, STRIDES, pool.samples, BORDERS)
    return np.asarray(pyramid_roi_align(maps, boxes, *how, aligned=pool.aligned).numpy())


def run_function(pool: Pool) -> Array:
    return run_node(
        "MaskrtPyramidRoiAlign",
        {"X": pool.atlas, "rois": pool.boxes},
        output_size=pool.bins,
        sampling_ratio=pool.samples,
        aligned=int(pool.aligned),
        spatial_shapes=[side for level in LEVELS for side in level],
        strides=STRIDES,
        borders=BORDERS,
    )


# The specification itself.


def test_a_box_is_pooled_from_the_level_its_area_reaches() -> None:
    sides = [area**0.5 for area in BORDERS]
    boxes = np.array([[[20, 20, 20 + side, 20 + side] for side in (1, *sides)]])
    boxes[0, 1:, 2:] += 1e-3
    found = reference.pyramid_roi_align(
        numbered(LEVELS), boxes.astype(np.float32), 2, LEVELS, STRIDES, 2, BORDERS
    )
    np.testing.assert_array_equal(found[:, 0, 0, 0], [1, 2, 3, 4])


def test_an_area_equal_to_a_border_reaches_it() -> None:
    borders = (16.0, 64.0)
    below = np.nextafter(np.float32(8), np.float32(0))
    sides = [(4, 4), (8, 8), (8, below), (-4, 4), (-4, -4), (0, 9), (np.nan, 9), (np.inf, 9)]
    boxes = np.array([(0, 0, *side) for side in sides], np.float32)
    levels = [reference.box_level(box, borders) for box in boxes]
    assert levels == [1, 2, 1, 0, 1, 0, 0, 2]


def test_without_alignment_a_box_covers_one_cell_at_least() -> None:
    fine = np.arange(16.0).reshape(1, 1, 4, 4)
    levels, strides, borders = ((4, 4), (2, 2)), (1, 2), (1e6,)
    boxes = np.array([[[1, 1, 1, 1], [2, 1, 1.5, 2]]], np.float32)
    both = joined([fine, np.zeros((1, 1, 2, 2))])
    found = reference.pyramid_roi_align(both, boxes, 1, levels, strides, 1, borders, False)
    # Samples at (1.5, 1.5) and, of the mirrored box's cell to the right, at (2.5, 1.5).
    np.testing.assert_array_equal(found[:, 0, 0, 0], [7.5, 8.5])


# Every implementation against the specification.


@pytest.fixture(scope="module", params=[2, 0], ids=["fixed", "adaptive"])
def pooled(request: pytest.FixtureRequest) -> tuple[Pool, Array]:
    """10,000 boxes in an FP16 atlas and their bins."""
    pool = Pool(atlas(2, np.float16), random_boxes(5000), 7, request.param, aligned=True)
    return pool, pool.want()


@pytest.mark.parametrize("run", [run_torch, run_function])
def test_ten_thousand_boxes(run: Callable[[Pool], Array], pooled: tuple[Pool, Array]) -> None:
    half, want = pooled
    used = {reference.box_level(box, BORDERS) for box in half.boxes.reshape(-1, 4)}
    assert used == {0, 1, 2, 3}
    single = dataclasses.replace(half, atlas=half.atlas.astype(np.float32))
    assert_pooled(run(single), single, want, FP32_ERROR, 0)
    assert_pooled(run(half), half, want, FP32_ERROR, FP16_ERROR)


@pytest.mark.parametrize("run", [run_torch, run_function])
@pytest.mark.parametrize("samples", [1, 0])
def test_boxes_that_are_not_aligned(run: Callable[[Pool], Array], samples: int) -> None:
    pool = Pool(atlas(3), random_boxes(200, 1), 14, samples, aligned=False)
    assert_pooled(run(pool), pool, pool.want(), FP32_ERROR, 0)


@pytest.mark.parametrize("run", [run_torch, run_function])
def test_boxes_of_no_area_on_the_last_cells(run: Callable[[Pool], Array]) -> None:
    corners = [(0, 0), (124, 80), (-3, -3), (127, 83), (-7, 5), (129, 70)]
    boxes = np.array([[(x, y, x, y) for x, y in corners]] * 2, np.float32)
    for samples in (2, 0):
        pool = Pool(atlas(2), boxes, 3, samples, aligned=True)
        assert_pooled(run(pool), pool, pool.want(), FP32_ERROR, 0)
        assert run(pool).any() == (samples > 0), "adaptive sampling has no samples there"


@pytest.mark.parametrize("run", [run_torch, run_function])
def test_boxes_next_to_a_border_are_on_the_level_the_specification_says(
    run: Callable[[Pool], Array],
) -> None:
    sides = [np.float32(area**0.5) for area in BORDERS]
    near = [np.nextafter(side, np.float32(to)) for side in sides for to in (0, 1e9)]
    both = [*sides, *near]
    boxes = np.array([[(0, 0, a, b) for a in both for b in both]] * 2, np.float32)
    pool = Pool(numbered(LEVELS).repeat(2, 0), boxes, 1, 1, aligned=True)
    np.testing.assert_array_equal(np.rint(run(pool)), np.rint(pool.want()))
    assert set(np.rint(pool.want()).ravel()) == {1, 2, 3, 4}


# The Triton kernel, in Triton's interpreter.

POOLS = {
    "fp32": Pool(atlas(3), random_boxes(40), 7, 2, aligned=True),
    "fp32 on tensor cores": Pool(atlas(3), random_boxes(20, 1), 14, 2, True, "tf32x3"),
    "fp16 on tensor cores": Pool(atlas(9, np.float16), random_boxes(20, 2), 14, 0, True, "halves"),
    "adaptive": Pool(atlas(2), random_boxes(40, 5), 7, 0, aligned=True),
    "not aligned": Pool(atlas(2), random_boxes(40, 6), 7, 2, aligned=False),
    "not aligned, adaptive": Pool(atlas(2), random_boxes(40, 7), 7, 0, aligned=False),
    "more than 16 bins": Pool(atlas(1), random_boxes(12, 8), 20, 1, aligned=True),
    "no boxes": Pool(atlas(1), random_boxes(20)[:, :0], 7, 2, aligned=True),
}


@pytest.fixture(scope="module")
def interpreted(interpret: Callable[[dict[str, Any]], dict[str, Array]]) -> dict[str, Array]:
    """What the kernel makes of every case."""
    wild = np.array([[[np.nan, 1, 9, 9], [-np.inf, 1, np.inf, 9], [1, 1, 9, np.inf]]] * 2)
    odd = Pool(atlas(2), wild.astype(np.float32), 7, 2, aligned=True)
    arrays: dict[str, Any] = {}
    for name, pool in {**POOLS, "not finite": odd}.items():
        dtype = "fp16" if pool.atlas.dtype == np.float16 else "fp32"
        kernel = load_kernel(f"pyramid_roi_align_{dtype}", "8.0")
        launch = pool.cfg.launch(kernel, pool.atlas.shape, pool.boxes.shape, dtype == "fp16")
        arrays |= case(name, pool, launch.scalars)
    return interpret(arrays)


def case(name: str, pool: Pool, scalars: Sequence[int]) -> dict[str, Any]:
    parts = {"first": pool.atlas, "second": pool.boxes, "scalars": scalars}
    return {f"{name}.{part}": value for part, value in {**parts, "product": pool.product}.items()}


@pytest.mark.parametrize("name", POOLS)
def test_pyramid_roi_align_kernel(name: str, interpreted: dict[str, Array]) -> None:
    pool = POOLS[name]
    rounding = FP16_ROUNDING if pool.atlas.dtype == np.float16 else 0
    assert_pooled(interpreted[name], pool, pool.want(), FP32_ERROR, rounding)


def test_boxes_that_are_no_numbers_give_zeros(interpreted: dict[str, Array]) -> None:
    assert interpreted["not finite"].shape == (6, 2, 7, 7)
    assert not interpreted["not finite"].any()


# The compiled kernel on a GPU.


@pytest.mark.gpu
@pytest.mark.skipif(
    cuda.missing_device() is not None, reason=f"no GPU here: {cuda.missing_device()}"
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("bins", "samples", "aligned"), [(14, 2, True), (7, 0, True), (7, 2, False), (20, 3, True)]
)
def test_pyramid_roi_align_on_a_gpu(bins: int, samples: int, aligned: bool, dtype: type) -> None:
    pool = Pool(atlas(17, dtype), random_boxes(500), bins, samples, aligned)
    half = dtype == np.float16
    found = run_on_gpu(
        pool.cfg.kernel_name(half),
        (pool.atlas, pool.boxes),
        np.full((1000, 17, bins, bins), np.nan, dtype),
        lambda kernel: pool.cfg.launch(kernel, pool.atlas.shape, pool.boxes.shape, half),
    )
    assert_pooled(found, pool, pool.want(), FP32_ERROR, FP16_ROUNDING if half else 0)
