"""FastMask's deploy form against its training form."""

from collections.abc import Callable

import pytest
import torch

from maskrt.train.deploy.fastmask import DeployFastMask
from maskrt.train.networks.fastmask import FastMask, level_shapes
from maskrt.train.networks.picture_edge import inside_of
from maskrt.train.networks.windows import pack, window_align, window_boxes, window_count

MakeNetwork = Callable[..., FastMask]

IMAGE_PYRAMID = ["model.pyramid=image", "model.head=standard", "model.streams=1"]
VARIANTS = {
    "two streams": [],
    "one stream": [
        "model.streams=1",
        "model.train_strides=[16,32,64]",
        "model.test_strides=[16,32,64]",
    ],
    "vgg": ["model.body=vgg"],
    "pva": ["model.body=pva", "model.stem_channels=16"],
    "forward neck": ["model.neck=forward"],
    "average neck": ["model.neck=average"],
    "max neck": ["model.neck=max"],
    "standard head": ["model.head=standard"],
    "original code": ["model.compat=original"],
    "image pyramid": IMAGE_PYRAMID,
}
CANVAS = (96, 132)
DEFAULT_STRIDES = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0)


def pictures(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (batch, *CANVAS, 3), dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([[96, 132], [80, 60]][:batch], dtype=torch.int32)
    return images, sizes


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_the_deploy_form_equals_explicit_windows(
    fastmask_network: MakeNetwork, overrides: list[str]
) -> None:
    model = fastmask_network(*overrides)
    deployed = DeployFastMask(model, CANVAS, slots=20).eval()
    images, sizes = pictures()
    with torch.inference_mode():
        windows, scores, masks, counts = deployed(images, sizes)
        strides, inside = model.recipe.model.test_strides, inside_of(sizes, CANVAS)
        maps = model.levels(model.normalize(images, sizes), strides, inside)
        shapes = [tuple(level.shape[2:]) for level in maps]
        assert shapes == level_shapes(model.recipe.model, CANVAS, strides)
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


def test_proposals_do_not_depend_on_the_canvas(fastmask_network: MakeNetwork) -> None:
    model, (images, sizes) = fastmask_network(), pictures()
    alone = images[1:, :80, :60]
    with torch.inference_mode():
        placed = DeployFastMask(model, CANVAS, slots=20)(images, sizes)
        native = DeployFastMask(model, (80, 60), slots=20)(alone, sizes[1:])
    assert torch.equal(placed[0][1], native[0][0])
    for found, wanted in zip(placed[1:3], native[1:3], strict=True):
        assert torch.allclose(found[1], wanted[0], atol=1e-4)


def test_windows_centred_outside_the_picture_never_come_out(fastmask_network: MakeNetwork) -> None:
    deployed = DeployFastMask(fastmask_network(), CANVAS, slots=500).eval()
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


def test_the_published_code_has_a_row_and_a_column_more(fastmask_network: MakeNetwork) -> None:
    network = fastmask_network("model.compat=original")
    native = window_count(level_shapes(network.recipe.model, (80, 60), DEFAULT_STRIDES))
    for canvas_hw in ((80, 60), CANVAS):
        deployed = DeployFastMask(network, canvas_hw, slots=500).eval()
        images = torch.zeros(1, *canvas_hw, 3, dtype=torch.uint8)
        with torch.inference_mode():
            counts = deployed(images, torch.tensor([[80, 60]], dtype=torch.int32))[3]
        assert counts.tolist() == [native]


def test_slots_are_no_more_than_windows(fastmask_network: MakeNetwork) -> None:
    deployed = DeployFastMask(fastmask_network(), CANVAS, slots=10_000)
    shapes = level_shapes(deployed.model.recipe.model, CANVAS, deployed.strides)
    assert deployed.slots == window_count(shapes) < 10_000


def test_an_image_pyramid_covers_the_canvas_like_the_strides_say(
    fastmask_network: MakeNetwork,
) -> None:
    model = fastmask_network(*IMAGE_PYRAMID)
    deployed = DeployFastMask(model, CANVAS, slots=10)
    boxes = window_boxes(
        level_shapes(model.recipe.model, CANVAS, deployed.strides),
        [(s, s) for s in deployed.strides],
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    real = deployed.boxes[:, 2:] - deployed.boxes[:, :2]
    assert (real / sides - 1).abs().max() < 0.13  # sizes round to whole pixels
