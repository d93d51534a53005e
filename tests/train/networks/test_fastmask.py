"""FastMask's parts against plain computations."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from maskrt.train.networks.fastmask import (
    FastMask,
    Neck,
    level_shapes,
    level_strides,
    resized_hw,
)
from maskrt.train.networks.picture_edge import inside_of
from maskrt.train.networks.window_head import WindowNorm
from maskrt.train.networks.windows import pack, window_align, window_count
from maskrt.train.recipes.fastmask import FastMaskConfig
from maskrt.train.recipes.recipe import load_recipe

MakeNetwork = Callable[..., FastMask]

IMAGE_PYRAMID = ["model.pyramid=image", "model.head=standard", "model.streams=1"]
SEVEN = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0)


@pytest.mark.parametrize(
    ("canvas_hw", "strides", "shapes", "windows"),
    [
        (
            (608, 800),
            SEVEN,
            [(38, 50), (26, 34), (19, 25), (13, 17), (10, 13), (7, 9), (5, 7)],
            3988,
        ),
        (
            (652, 868),
            SEVEN,
            [(41, 55), (28, 37), (21, 28), (14, 19), (11, 14), (7, 10), (6, 7)],
            4716,
        ),
        (
            (972, 1300),
            (*SEVEN, 192.0),
            [(61, 82), (41, 55), (31, 41), (21, 28), (16, 21), (11, 14), (8, 11), (6, 7)],
            10198,
        ),
    ],
    ids=["training", "test", "zoom"],
)
def test_levels_are_those_of_the_published_networks(
    canvas_hw: tuple[int, int],
    strides: tuple[float, ...],
    shapes: list[tuple[int, int]],
    windows: int,
) -> None:
    config = load_recipe("fastmask_tiny").model
    assert isinstance(config, FastMaskConfig)
    assert level_shapes(config, canvas_hw, strides) == shapes
    assert window_count(shapes) == windows


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.compat=original"],
        ["model.body=vgg"],
        ["model.body=pva", "model.stem_channels=16"],
        ["model.neck=max"],
        IMAGE_PYRAMID,
    ],
    ids=["two streams", "original code", "vgg", "pva", "max neck", "image pyramid"],
)
def test_level_shapes_are_known_before_anything_runs(
    fastmask_network: MakeNetwork, overrides: list[str]
) -> None:
    model = fastmask_network(*overrides)
    config = model.recipe.model
    for canvas_hw in ((100, 52), (20, 16), (16, 148)):
        with torch.inference_mode():
            maps = model.levels(torch.zeros(1, 3, *canvas_hw), config.test_strides)
        found = [tuple(level.shape[2:]) for level in maps]
        assert found == level_shapes(config, canvas_hw, config.test_strides)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.compat=original"],
        ["model.body=vgg"],
        ["model.body=pva", "model.stem_channels=16"],
        ["model.neck=forward"],
        ["model.neck=average"],
        ["model.neck=max"],
    ],
    ids=["two streams", "original code", "vgg", "pva", "forward", "average", "max"],
)
def test_levels_of_a_picture_do_not_depend_on_its_canvas(
    fastmask_network: MakeNetwork, overrides: list[str]
) -> None:
    model = fastmask_network(*overrides)
    strides = model.recipe.model.test_strides
    picture = torch.randn(1, 3, 84, 60, generator=torch.Generator().manual_seed(7))
    canvas = F.pad(picture, (0, 132 - 60, 0, 96 - 84))
    inside = inside_of(torch.tensor([[84, 60]], dtype=torch.int32), (96, 132))
    with torch.inference_mode():
        alone = model.levels(picture, strides)
        placed = model.levels(canvas, strides, inside)
        leaking = model.levels(canvas, strides)
    for own, level, other in zip(alone, placed, leaking, strict=True):
        (height, width), largest = own.shape[2:], float(own.abs().max())
        assert torch.allclose(level[..., :height, :width], own, atol=2e-6 * largest)
        assert not level[..., height:, :].any()
        assert not level[..., width:].any()
        assert not torch.allclose(other[..., :height, :width], own, atol=2e-3 * largest)


def test_window_statistics_are_those_of_all_windows_cut_out() -> None:
    generator = torch.Generator().manual_seed(5)
    maps = [torch.randn(2, 4, h, w, generator=generator) + 1 for h, w in ((7, 9), (3, 4))]
    shapes = [(7, 9), (3, 4)]
    index = torch.arange(window_count(shapes)).expand(2, -1)
    every = window_align(pack(maps), index, shapes).flatten(0, 2)
    norm = WindowNorm(4, 0.1)
    scale, shift = norm.of_maps(maps)
    wanted = F.batch_norm(every.double(), None, None, training=True)
    assert torch.allclose((every * scale + shift).double(), wanted, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * every.mean(dim=0), atol=1e-6)
    again = WindowNorm(4, 0.1).of_windows(every.reshape(-1, 10, 10, 4))
    assert torch.allclose(torch.stack(again), torch.stack((scale, shift)), atol=1e-5)


def test_the_window_norms_momentum_is_the_recipes(fastmask_network: MakeNetwork) -> None:
    maps = [torch.rand(1, 6, 20, 20, generator=torch.Generator().manual_seed(8)) + 3]
    whole = WindowNorm(6, 1.0)
    whole.of_maps(maps)
    for overrides, share in (([], 0.1), (["solver.window_momentum=0.001"], 0.001)):
        norm = fastmask_network(*overrides).norm
        before = norm.running_mean.clone()
        norm.of_maps(maps)
        moved = (norm.running_mean - before) / (whole.running_mean - before)
        assert torch.allclose(moved, torch.full((6,), share), rtol=1e-2)


def test_streams_share_weights_unless_the_original_is_asked_for(
    fastmask_network: MakeNetwork,
) -> None:
    picture = torch.randn(1, 3, 96, 132, generator=torch.Generator().manual_seed(6))
    for overrides, follows in (([], True), (["model.compat=original"], False)):
        body = fastmask_network(*overrides).body
        first, second = body(picture)
        assert first.shape[2:] == (6, 9)
        assert second.shape[2:] == (4, 6)
        with torch.no_grad():
            body.res4[0].conv1.weight.mul_(1.5)  # type: ignore[union-attr, operator, index]
        assert torch.equal(body(picture)[1], second) is not follows


def test_the_residual_neck_starts_as_average_pooling() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 8, 5, 7)
    assert torch.allclose(Neck("residual", 8)(x), Neck("average", 8)(x), atol=1e-3)
    assert not torch.allclose(Neck("forward", 8)(x), Neck("average", 8)(x), atol=1e-2)


def test_pooling_at_odd_edges_is_caffes() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert Neck("average", 1)(x).tolist() == [[[[2.0, 3.5], [6.5, 8.0]]]]
    assert Neck("max", 1)(x).tolist() == [[[[4.0, 5.0], [7.0, 8.0]]]]


def test_pooling_counts_only_the_cells_that_are_there() -> None:
    x = torch.full((1, 8, 7, 5), 2.5)
    for kind in ("average", "max"):
        assert torch.equal(Neck(kind, 8)(x), torch.full((1, 8, 4, 3), 2.5))


def test_published_sizes() -> None:
    with torch.device("meta"):
        tied = FastMask(load_recipe("fastmask_r39"))  # type: ignore[arg-type]
        original = FastMask(load_recipe("fastmask_r39", ["model.compat=original"]))  # type: ignore[arg-type]
    stored = [sum(v.numel() for v in m.state_dict().values()) for m in (tied, original)]
    assert [round(n / 1e6, 2) for n in stored] == [27.06, 34.18]


def test_every_level_of_an_image_pyramid_spans_the_canvas() -> None:
    config = load_recipe("fastmask_tiny", IMAGE_PYRAMID).model
    assert isinstance(config, FastMaskConfig)
    for stride, (y, x) in zip(
        config.test_strides, level_strides(config, (972, 1300), config.test_strides), strict=True
    ):
        height, width = resized_hw((972, 1300), stride)
        assert (y * height / 16, x * width / 16) == pytest.approx((972, 1300))
        assert (y, x) == pytest.approx((stride, stride), rel=0.01)
