"""FastMask's deploy form against its training form, and the parts against plain computations."""

import copy

import pytest
import torch
from torch.nn import functional as F

from maskrt.train.networks.fastmask import (
    DeployFastMask,
    FastMask,
    Neck,
    level_shapes,
    level_strides,
    resized_hw,
)
from maskrt.train.networks.window_head import WindowNorm
from maskrt.train.networks.windows import pack, window_align, window_boxes, window_count
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.recipe import load_recipe

SMALL = [
    "model.stem_channels=8",
    "model.body_channels=16",
    "model.reduced_channels=6",
    "model.score_channels=12",
    "model.score_hidden=10",
    "model.mask_rank=9",
    "model.mask_cells=8",
    "input.canvas_hw=[96, 132]",
]
ONE_STREAM = ["model.streams=1", "model.train_strides=[16,32,64]", "model.test_strides=[16,32,64]"]
VARIANTS = {
    "two streams": [],
    "one stream": ONE_STREAM,
    "vgg": ["model.body=vgg"],
    "pva": ["model.body=pva", "model.stem_channels=16"],
    "forward neck": ["model.neck=forward"],
    "average neck": ["model.neck=average"],
    "max neck": ["model.neck=max"],
    "standard head": ["model.head=standard"],
    "original code": ["model.compat=original"],
    "image pyramid": ["model.pyramid=image", "model.head=standard", "model.streams=1"],
}
CANVAS = (96, 132)


def recipe(*overrides: str) -> FastMaskRecipe:
    loaded = load_recipe("fastmask_tiny", [*SMALL, *overrides])
    assert isinstance(loaded, FastMaskRecipe)
    return loaded


def network(*overrides: str) -> FastMask:
    """In evaluation, with random norms: nothing cancels by chance."""
    torch.manual_seed(0)
    model = FastMask(recipe(*overrides)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif name.endswith("running_mean") or name == "norm.bias":
                value.normal_(std=0.3, generator=generator)
        model.norm.weight.uniform_(0.5, 2, generator=generator)
        if model.head.attention is not None:
            model.head.attention.weight.normal_(std=0.05, generator=generator)
        model.head.mask_shift.normal_(std=0.2, generator=generator)
        model.head.mask_2.weight.normal_(std=1e-3, generator=generator)
    return model


def pictures(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (batch, *CANVAS, 3), dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([[96, 132], [80, 60]][:batch], dtype=torch.int32)
    return images, sizes


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_the_deploy_form_equals_explicit_windows(overrides: list[str]) -> None:
    model = network(*overrides)
    deployed = DeployFastMask(copy.deepcopy(model), CANVAS, slots=20).eval()
    images, sizes = pictures()
    with torch.inference_mode():
        windows, scores, masks, counts = deployed(images, sizes)
        maps = model.levels(model.normalize(images, sizes), model.recipe.model.test_strides)
        shapes = [tuple(level.shape[2:]) for level in maps]
        assert shapes == level_shapes(model.recipe.model, CANVAS, model.recipe.model.test_strides)
        scale, shift = model.norm.trained()
        index = torch.arange(window_count(shapes)).expand(2, -1)
        every = window_align(pack(maps), index, shapes) * scale + shift
        wanted_scores = model.head.scores(every).sigmoid().unflatten(0, (2, -1))
        wanted_masks = model.head.masks(every)[0].sigmoid().unflatten(0, (2, -1))
    assert counts.tolist() == [20, 20]
    assert (scores.diff(dim=1) <= 0).all()
    for b in range(2):
        number = torch.cdist(windows[b], deployed.boxes).argmin(dim=1)
        assert torch.equal(deployed.boxes[number], windows[b])
        assert len(set(number.tolist())) == 20
        assert torch.allclose(scores[b], wanted_scores[b, number], atol=1e-4)
        assert torch.allclose(masks[b], wanted_masks[b, number], atol=1e-4)


def test_windows_centred_outside_the_picture_never_come_out() -> None:
    deployed = DeployFastMask(network(), CANVAS, slots=500).eval()
    images, sizes = pictures()
    with torch.inference_mode():
        windows, scores, masks, counts = deployed(images, sizes)
    center = (windows[1, :, :2] + windows[1, :, 2:]) / 2
    inside = ((deployed.boxes[:, 0] + deployed.boxes[:, 2]) / 2 <= 60) & (
        (deployed.boxes[:, 1] + deployed.boxes[:, 3]) / 2 <= 80
    )
    count = int(counts[1])
    assert count == int(inside.sum()) < 500
    assert (center[:count] <= torch.tensor([60, 80])).all()
    for rest in (windows[1, count:], scores[1, count:], masks[1, count:]):
        assert (rest == 0).all()


def test_slots_are_no_more_than_windows() -> None:
    deployed = DeployFastMask(network(), CANVAS, slots=10_000)
    shapes = level_shapes(deployed.model.recipe.model, CANVAS, deployed.strides)
    assert deployed.slots == window_count(shapes) < 10_000


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
    assert level_shapes(recipe().model, canvas_hw, strides) == shapes
    assert window_count(shapes) == windows


@pytest.mark.parametrize("canvas_hw", [(100, 52), (20, 16), (16, 148)])
@pytest.mark.parametrize(
    "variant", ["two streams", "original code", "vgg", "pva", "max neck", "image pyramid"]
)
def test_level_shapes_are_known_before_anything_runs(
    variant: str, canvas_hw: tuple[int, int]
) -> None:
    model = network(*VARIANTS[variant])
    config = model.recipe.model
    with torch.inference_mode():
        maps = model.levels(torch.zeros(1, 3, *canvas_hw), config.test_strides)
    found = [tuple(level.shape[2:]) for level in maps]
    assert found == level_shapes(config, canvas_hw, config.test_strides)


def test_window_statistics_are_those_of_all_windows_cut_out() -> None:
    generator = torch.Generator().manual_seed(5)
    maps = [torch.randn(2, 4, h, w, generator=generator) + 1 for h, w in ((7, 9), (3, 4))]
    shapes = [(7, 9), (3, 4)]
    index = torch.arange(window_count(shapes)).expand(2, -1)
    every = window_align(pack(maps), index, shapes).flatten(0, 2)
    norm = WindowNorm(4)
    scale, shift = norm.of_maps(maps)
    wanted = F.batch_norm(every.double(), None, None, training=True)
    assert torch.allclose((every * scale + shift).double(), wanted, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * every.mean(dim=0), atol=1e-6)
    again = WindowNorm(4).of_windows(every.reshape(-1, 10, 10, 4))
    assert torch.allclose(torch.stack(again), torch.stack((scale, shift)), atol=1e-5)


def test_streams_share_weights_unless_the_original_is_asked_for() -> None:
    picture = torch.randn(1, 3, 96, 132, generator=torch.Generator().manual_seed(6))
    for overrides, follows in (([], True), (["model.compat=original"], False)):
        body = network(*overrides).body
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


def test_an_image_pyramid_covers_the_canvas_like_the_strides_say() -> None:
    model = network("model.pyramid=image", "model.head=standard", "model.streams=1")
    deployed = DeployFastMask(model, CANVAS, slots=10)
    boxes = window_boxes(
        level_shapes(model.recipe.model, CANVAS, deployed.strides),
        [(s, s) for s in deployed.strides],
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    real = deployed.boxes[:, 2:] - deployed.boxes[:, :2]
    assert (real / sides - 1).abs().max() < 0.13  # sizes round to whole pixels


def test_every_level_of_an_image_pyramid_spans_the_canvas() -> None:
    config = network("model.pyramid=image", "model.head=standard", "model.streams=1").recipe.model
    for stride, (y, x) in zip(
        config.test_strides, level_strides(config, (972, 1300), config.test_strides), strict=True
    ):
        height, width = resized_hw((972, 1300), stride)
        assert (y * height / 16, x * width / 16) == pytest.approx((972, 1300))
        assert (y, x) == pytest.approx((stride, stride), rel=0.01)
