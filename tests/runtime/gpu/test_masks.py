"""Masks pasted and encoded on the GPU; where there is none, with the stand-in of conftest."""

from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.errors import ContractError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu import masks as gpu_masks
from maskrt.runtime.gpu.masks import GpuMasks, counts_from_marks
from maskrt.runtime.results.pasting import FramedMasks, Pasted, paste_on_cpu

from .conftest import LateCuda, on_gpu

MASK_HW = (41, 57)


def framed(count: int = 7, threshold: float = 0.5, upsampling: int = 1) -> FramedMasks:
    rng = np.random.default_rng(5)
    corners = rng.uniform(-5, 40, (count, 2))
    frames = np.concatenate((corners, corners + rng.uniform(1, 40, (count, 2))), 1)
    frames[2:3] = [200, 200, 210, 210]  # beyond the picture: no pixel
    probs = rng.random((count, 14, 14), dtype=np.float32)
    return FramedMasks(probs, frames.astype(np.float32), MASK_HW, threshold, upsampling)


def assert_same(found: Pasted, want: Pasted) -> None:
    assert len(found.counts) == len(want.counts)
    for one, other in zip(found.counts, want.counts, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.boxes, want.boxes)
    assert (found.boxes.shape, found.boxes.dtype) == (want.boxes.shape, np.float32)


def test_counts_and_boxes_are_the_cpus(late: LateCuda) -> None:
    with GpuMasks() as gpu:
        for masks in (framed(), framed(2, 0.2), framed(7, 0.8), framed(7, 0.2, 4), framed(40)):
            assert_same(gpu.paste(masks), paste_on_cpu(masks))
    assert late.live == {}


def test_masks_go_in_parts_that_fit_in_the_memory(
    late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = MASK_HW
    monkeypatch.setattr(gpu_masks, "MOST_PIXELS", 3 * height * width)
    masks = framed()
    with GpuMasks() as gpu:
        assert_same(gpu.paste(masks), paste_on_cpu(masks))
        assert gpu._pixels.room(1) in late.live
        downloads = late.copied_bytes[2::3]
    assert downloads == [4 * n * -(-height * width // 32) for n in (3, 3, 1)]


def test_masks_of_an_enormous_picture_are_pasted_on_the_cpu(
    late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_masks, "MOST_PIXELS", MASK_HW[0] * MASK_HW[1] - 1)
    with GpuMasks() as gpu:
        assert_same(gpu.paste(framed()), paste_on_cpu(framed()))
    assert late.copied_bytes == []


def test_no_masks_start_no_kernel(late: LateCuda) -> None:
    none = FramedMasks(
        np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), MASK_HW, 0.5, 1
    )
    with GpuMasks() as gpu:
        assert_same(gpu.paste(none), paste_on_cpu(none))
    assert late.copied_bytes == []


def test_what_is_no_probability_is_refused_as_on_the_cpu(late: LateCuda) -> None:
    masks = framed(3, upsampling=4)
    masks.probs[1, 2, 3] = np.nan
    with GpuMasks() as gpu, pytest.raises(ContractError, match="expected probabilities"):
        gpu.paste(masks)


def test_another_gpu_is_used_and_the_threads_own_stays_current(late: LateCuda) -> None:
    with GpuMasks(device=1) as gpu:
        assert_same(gpu.paste(framed()), paste_on_cpu(framed()))
        assert late.current == 0
        assert set(late.made_on.values()) == {1}
    assert (late.current, late.live) == (0, {})


def test_memory_is_freed_when_opening_fails(
    late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise SessionError("no kernel")

    monkeypatch.setattr(gpu_masks, "kernel_here", refuse)
    with pytest.raises(SessionError, match="no kernel"):
        GpuMasks()
    assert late.live == {}


@pytest.mark.parametrize(
    ("ends", "pixels", "counts"),
    [
        ([], 40, [40]),
        ([0], 40, [0, 40]),
        ([39], 40, [39, 1]),
        ([0, 31, 32, 39], 40, [0, 31, 1, 7, 1]),
        ([64], 96, [64, 32]),
    ],
    ids=str,
)
def test_counts_are_the_ways_between_marks(ends: list[int], pixels: int, counts: list[int]) -> None:
    flags = np.zeros(-(-pixels // 32) * 32, np.uint8)
    flags[ends] = 1
    marks = np.packbits(flags, bitorder="little").view(np.uint32)
    found = counts_from_marks(marks, pixels)
    assert found.tolist() == counts
    assert found.dtype == np.int64


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("upsampling", [1, 4])
def test_masks_on_a_gpu_are_the_cpus(upsampling: int) -> None:
    cuda.require_device("test")
    with GpuMasks() as gpu:
        for threshold in (0.2, 0.5):
            masks = framed(7, threshold, upsampling)
            assert_same(gpu.paste(masks), paste_on_cpu(masks))
