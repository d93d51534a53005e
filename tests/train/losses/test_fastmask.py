"""Which windows are trained and for what, by hand; and that the losses reach every layer."""

import cv2
import numpy as np
import pytest
import torch

from maskrt.train.data.target import Target
from maskrt.train.losses.fastmask import PATCH_PX, attention_targets, fastmask_losses, patch
from maskrt.train.losses.fastmask_windows import assign, sample_windows, window_rule
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.networks.windows import window_boxes
from maskrt.train.recipes.fastmask import FastMaskRecipe, WindowConfig
from maskrt.train.recipes.recipe import load_recipe

RULE = WindowConfig()
WINDOW = torch.tensor([[100.0, 100, 260, 260]])  # side 160, cells of 16 px


def square(center: tuple[float, float], side: float) -> list[float]:
    x, y = center
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def target(boxes: list[list[float]], crowds: list[list[float]] | None = None) -> Target:
    corners = torch.tensor(boxes).reshape(-1, 4)
    masks = torch.zeros(len(boxes), 160, 200, dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        x0, y0, x1, y1 = (int(max(v, 0)) for v in box)
        mask[y0:y1, x0:x1] = 1
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    return Target(corners, labels, masks, torch.tensor(crowds or []).reshape(-1, 4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("center", "side", "positive", "hard"),
    [
        ((180, 180), 96, True, False),
        ((180, 180), 64, True, False),  # 0.4 of the window
        ((180, 180), 128, True, False),  # 0.8
        ((180, 180), 60, False, True),  # too small, centred: wrong scale
        ((180, 180), 140, False, True),
        ((196, 180), 96, True, False),  # one cell off
        ((197, 180), 96, False, True),  # fits, off centre: shifted
        ((255, 180), 96, False, True),
        ((300, 180), 96, False, False),  # centre outside the window
        ((230, 180), 30, False, False),  # neither fits nor is centred
    ],
)
def test_scale_and_centre_decide(
    center: tuple[float, float], side: float, positive: bool, hard: bool
) -> None:
    objects, difficult = assign(WINDOW, torch.tensor([square(center, side)]), RULE)
    assert (objects.tolist(), difficult.tolist()) == ([0 if positive else -1], [hard])


def test_the_nearest_object_wins() -> None:
    boxes = torch.tensor([square((190, 180), 96), square((182, 181), 70), square((180, 192), 90)])
    assert assign(WINDOW, boxes, RULE)[0].tolist() == [1]


def test_a_picture_without_objects_has_no_positive_and_no_hard_window() -> None:
    objects, hard = assign(WINDOW, torch.zeros(0, 4), RULE)
    assert objects.tolist() == [-1]
    assert hard.tolist() == [False]


def grid() -> torch.Tensor:
    return window_boxes([(10, 13), (5, 7)], [(16, 16), (32, 32)])


def test_samples_hold_both_kinds_and_are_repeatable() -> None:
    truth = target([square((90, 80), 100), square((40, 120), 80)])
    first, second = (sample_windows(grid(), truth, [160, 200], RULE, seeded(4)) for _ in range(2))
    assert torch.equal(first.scored, second.scored)
    assert torch.equal(first.masked, second.masked)
    positives = int(first.labels.sum())
    assert 0 < positives <= 32
    assert len(first.scored) - positives == 32
    objects, _ = assign(grid(), truth.boxes, RULE)
    assert torch.equal(objects[first.scored] >= 0, first.labels == 1)
    assert torch.equal(objects[first.masked], first.objects)
    assert len(set(first.scored.tolist())) >= positives


def test_batches_are_bounded_and_their_negatives_partly_hard() -> None:
    truth = target([square((90, 80), 100), square((40, 120), 80), square((150, 60), 70)])
    rule = WindowConfig(objectness_batch=16, mask_batch=5, hard_share=0.25)
    objects, hard = assign(grid(), truth.boxes, rule)
    assert int((objects >= 0).sum()) > 8
    sample = sample_windows(grid(), truth, [160, 200], rule, seeded())
    assert sample.labels.tolist() == [1] * 8 + [0] * 8
    assert int(hard[sample.scored[8:]].sum()) >= 2
    assert not hard[sample.scored[8:]].all()
    assert len(set(sample.masked.tolist())) == len(sample.objects) == 5
    seeds = {
        tuple(sample_windows(grid(), truth, [160, 200], rule, seeded(n)).scored.tolist())
        for n in range(4)
    }
    assert len(seeds) == 4


def test_without_objects_the_original_code_trains_nothing() -> None:
    rule = WindowConfig(hard_share=1.0)
    sample = sample_windows(grid(), target([]), [160, 200], rule, seeded())
    assert len(sample.scored) == len(sample.labels) == len(sample.masked) == 0
    easy = sample_windows(grid(), target([]), [160, 200], RULE, seeded())
    assert easy.labels.tolist() == [0] * 32


def test_the_original_code_trains_hard_negatives_only() -> None:
    recipe = load_recipe("fastmask_tiny", ["model.compat=original", "model.body_channels=16"])
    assert isinstance(recipe, FastMaskRecipe)
    rule = window_rule(FastMask(recipe))
    assert rule.scale_range == (0.42, 0.68)
    truth = target([square((90, 80), 100)])
    sample = sample_windows(grid(), truth, [160, 200], rule, seeded())
    _, hard = assign(grid(), truth.boxes, rule)
    assert hard[sample.scored[sample.labels == 0]].all()


def test_crowds_and_padding_are_never_trained() -> None:
    truth = target([square((90, 80), 100)], crowds=[[0, 0, 60, 160]])
    sample = sample_windows(grid(), truth, [160, 150], WindowConfig(objectness_batch=400), seeded())
    centers = (grid()[sample.scored, :2] + grid()[sample.scored, 2:]) / 2
    assert (centers[:, 0] > 60).all()
    assert (centers[:, 0] <= 150).all()


def test_attention_is_the_share_of_the_box_in_each_cell() -> None:
    windows, boxes = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[15.0, 20, 60, 90]])
    wanted = torch.zeros(10, 10)
    wanted[2:9, 1:6] = 1
    wanted[:, 1] *= 0.5
    assert torch.allclose(attention_targets(boxes, windows)[0], wanted, atol=1e-6)
    reaching = torch.tensor([[-50.0, 30, 20, 400], [100, 100, 140, 120]])
    found = attention_targets(reaching, windows.expand(2, 4))
    wanted = torch.zeros(10, 10)
    wanted[3:, :2] = 1
    assert torch.allclose(found, torch.stack((wanted, torch.zeros(10, 10))), atol=1e-6)


def test_a_patch_is_its_window_with_one_cell_around() -> None:
    picture = torch.rand(3, 300, 320, generator=seeded())
    window = torch.tensor([60.0, 40, 220, 200])  # 160 px: nothing is scaled
    assert torch.equal(patch(picture, window)[0], picture[:, 24:216, 44:236])
    edge = patch(picture, torch.tensor([-80.0, -80, 80, 80]))[0]
    assert edge.shape == (3, PATCH_PX, PATCH_PX)
    assert (edge[:, :96] == 0).all()
    assert torch.equal(edge[:, 96:, 96:], picture[:, :96, :96])


@pytest.mark.parametrize("side", [320, 240])
def test_a_larger_window_is_scaled_down(side: int) -> None:
    picture = torch.rand(3, 500, 480, generator=seeded(1))
    around = side // 10
    found = patch(picture, torch.tensor([70.0, 80, 70 + side, 80 + side]))[0]
    crop = picture[:, 80 - around : 80 + side + around, 70 - around : 70 + side + around]
    wanted = cv2.resize(crop.permute(1, 2, 0).numpy(), (PATCH_PX, PATCH_PX))
    assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 1e-5


VARIANTS = {
    "attentional": [],
    "standard": ["model.head=standard"],
    "forward": ["model.neck=forward"],
    "average": ["model.neck=average"],
    "max": ["model.neck=max"],
    "deepmask": ["model.pyramid=image", "model.head=standard", "model.streams=1"],
    "vgg": ["model.body=vgg"],
    "pva": ["model.body=pva", "model.stem_channels=16"],
}


def network(overrides: list[str]) -> FastMask:
    small = ["model.stem_channels=8", "model.body_channels=16", "model.reduced_channels=6"]
    small += ["model.mask_rank=8", "model.mask_cells=8", "model.dropout=0.5"]
    recipe = load_recipe("fastmask_tiny", [*small, *overrides])
    assert isinstance(recipe, FastMaskRecipe)
    torch.manual_seed(0)
    return FastMask(recipe).train()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (2, 160, 200, 3), dtype=torch.uint8, generator=seeded())
    return images, torch.tensor([[160, 200], [120, 200]], dtype=torch.int32)


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_every_layer_learns_and_the_losses_fall(overrides: list[str]) -> None:
    model = network([*overrides, "windows.objectness_batch=6", "windows.mask_batch=4"])
    truths = [target([square((90, 80), 100)]), target([square((60, 60), 80)])]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for step in range(12):
        terms = fastmask_losses(model, *batch(), truths, seeded(step))
        assert set(terms) == {"objectness", "mask"} | (
            set() if "model.head=standard" in overrides else {"attention"}
        )
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        if step == 1:
            untouched = [
                name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
            ]
            assert not untouched
        optimizer.step()
        totals.append(float(total.detach()))
    assert min(totals[-3:]) < 0.9 * totals[0]


@pytest.mark.parametrize("pyramid", ["feature", "image"])
def test_pictures_without_objects_give_finite_losses(pyramid: str) -> None:
    model = network(VARIANTS["deepmask" if pyramid == "image" else "attentional"])
    terms = fastmask_losses(model, *batch(), [target([]), target([])], seeded())
    assert all(torch.isfinite(term) for term in terms.values())
    assert float(terms["mask"].detach()) == 0
    torch.stack(list(terms.values())).sum().backward()


@pytest.mark.parametrize("variant", ["attentional", "deepmask"])
def test_a_picture_under_one_crowd_leaves_the_network_whole(variant: str) -> None:
    model = network(VARIANTS[variant])
    images, sizes = batch()
    covered = [target([], crowds=[[-9, -9, 300, 300]])]
    terms = fastmask_losses(model, images[:1], sizes[:1], covered, seeded())
    assert {float(term.detach()) for term in terms.values()} == {0.0}
    torch.stack(list(terms.values())).sum().backward()
    for value in (*(p.grad for p in model.parameters()), *model.state_dict().values()):
        assert value is not None  # DDP waits for every parameter's gradient
        assert torch.isfinite(value).all()


def test_dropout_and_sampling_come_from_the_generator_alone() -> None:
    truths = [target([square((90, 80), 100)])] * 2
    model = network([])
    torch.manual_seed(1)
    first = fastmask_losses(model, *batch(), truths, seeded(7))
    torch.manual_seed(2)
    second = fastmask_losses(network([]), *batch(), truths, seeded(7))
    other = fastmask_losses(network([]), *batch(), truths, seeded(8))
    assert first["objectness"] == second["objectness"]
    assert first["objectness"] != other["objectness"]
