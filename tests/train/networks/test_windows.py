"""Windows of a pyramid against plain loops."""

import pytest
import torch

from maskrt.train.networks.windows import (
    Level,
    coverage,
    cut_windows,
    pack,
    window_align,
    window_align_operator,
    window_boxes,
    window_count,
)

LEVELS: list[Level] = [(7, 9), (3, 5), (1, 1)]


def maps(batch: int = 2, channels: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, channels, *level, generator=generator) for level in LEVELS]


def all_windows(levels: list[torch.Tensor]) -> torch.Tensor:
    """(B, W, 10, 10, C) by zero padding and slicing."""
    cut = []
    for level in levels:
        padded = torch.nn.functional.pad(level, (5, 5, 5, 5)).permute(0, 2, 3, 1)
        height, width = level.shape[2:]
        cut += [
            padded[:, r : r + 10, c : c + 10] for r in range(height + 1) for c in range(width + 1)
        ]
    return torch.stack(cut, dim=1)


@pytest.mark.parametrize(
    ("size_hw", "strides", "count"),
    [
        ((608, 800), (16, 24, 32, 48, 64, 96, 128), 3988),
        ((652, 868), (16, 24, 32, 48, 64, 96, 128), 4716),
        ((972, 1300), (16, 24, 32, 48, 64, 96, 128, 192), 10198),
    ],
)
def test_counts_are_those_of_the_published_networks(
    size_hw: tuple[int, int], strides: tuple[int, ...], count: int
) -> None:
    levels = [(-(-size_hw[0] // s), -(-size_hw[1] // s)) for s in strides]
    assert window_count(levels) == count
    assert len(window_boxes(levels, [(s, s) for s in strides])) == count


def test_windows_are_numbered_row_by_row_level_after_level() -> None:
    levels, strides = [(3, 2), (1, 4)], [(16.0, 16.0), (31.5, 32.25)]
    wanted = [
        [(c - 5) * x, (r - 5) * y, (c + 5) * x, (r + 5) * y]
        for (height, width), (y, x) in zip(levels, strides, strict=True)
        for r in range(height + 1)
        for c in range(width + 1)
    ]
    assert window_boxes(levels, strides).tolist() == wanted


def test_boxes_are_squares_about_the_grid() -> None:
    boxes = window_boxes([(2, 3)], [(16, 24)])
    assert boxes.shape == (12, 4)
    assert boxes[0].tolist() == [-120, -80, 120, 80]
    assert boxes[5].tolist() == [24 - 120, 16 - 80, 24 + 120, 16 + 80]  # row 1, column 1


@pytest.mark.parametrize("length", [1, 2, 4, 5, 9, 10, 11, 40])
def test_coverage_counts_windows_over_each_cell(length: int) -> None:
    wanted = torch.zeros(length)
    for start in range(length + 1):
        for cell in range(start - 5, start + 5):
            if 0 <= cell < length:
                wanted[cell] += 1
    assert torch.equal(coverage(length), wanted)


def test_every_window_is_what_slicing_gives() -> None:
    levels = maps()
    index = torch.arange(window_count(LEVELS)).expand(2, -1)
    windows = window_align(pack(levels), index, LEVELS)
    assert torch.equal(windows, all_windows(levels).flatten(0, 1))


def test_pictures_and_windows_may_come_in_any_order() -> None:
    levels = maps()
    picture, index = torch.tensor([1, 0, 1]), torch.tensor([window_count(LEVELS) - 1, 0, 83])
    windows = cut_windows(pack(levels), picture, index, LEVELS)
    assert torch.equal(windows, all_windows(levels)[picture, index])


def test_the_operator_is_the_function() -> None:
    pyramid, index = pack(maps()), torch.tensor([[3, 100], [0, 80]])
    flat = [side for level in LEVELS for side in level]
    assert torch.equal(
        window_align_operator(pyramid, index, flat, 10), window_align(pyramid, index, LEVELS)
    )
    with pytest.raises(ValueError, match="size 8"):
        window_align_operator(pyramid, index, flat, 8)
    traced = torch.ops.maskrt.window_align(pyramid.to("meta"), index.to("meta"), flat, 10)
    assert traced.shape == (4, 10, 10, 3)  # the shape that a tracer is told


def test_a_cell_gets_the_gradient_of_every_window_over_it() -> None:
    level = torch.zeros(1, 1, 7, 9, requires_grad=True)
    index = torch.arange(window_count([(7, 9)]))[None]
    window_align(pack([level]), index, [(7, 9)]).sum().backward()
    assert level.grad is not None
    assert torch.equal(level.grad[0, 0], coverage(7)[:, None] * coverage(9))


def test_gradients_are_those_of_slicing() -> None:
    levels = [level.requires_grad_() for level in maps()]
    index = torch.tensor([[0, 79, 80, 40], [103, 107, 9, 0]])  # corners, last level, one twice
    windows = window_align(pack(levels), index, LEVELS)
    weights = torch.randn(windows.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((windows * weights).sum(), levels)
    sliced = all_windows(levels)[torch.arange(2)[:, None], index].flatten(0, 1)
    wanted = torch.autograd.grad((sliced * weights).sum(), levels)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
