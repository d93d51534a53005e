"""That the losses on a pyramid can be lowered, with masks and without, and reach every layer."""

from collections.abc import Callable

import pytest
import torch

from maskrt.train.data.target import Target
from maskrt.train.losses.terms import loss_terms
from maskrt.train.networks.families import new_network
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe

MakePyramid = Callable[..., MaskRCNNFPNRecipe]
BOX_TERMS = {"rpn_objectness", "rpn_box", "box_class", "box_delta"}


def batch() -> tuple[torch.Tensor, torch.Tensor, list[Target]]:
    """A picture with two bright rectangles, and one of nothing."""
    images = torch.full((2, 96, 128, 3), 60, dtype=torch.uint8)
    boxes, masks = [[10, 16, 42, 48], [60, 20, 120, 80]], torch.zeros(2, 96, 128, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
        images[0, y0:y1, x0:x1] = 220
    none = torch.zeros(0, 4)
    empty = Target(none, torch.zeros(0, dtype=torch.int64), masks[:0], none)
    truth = Target(torch.tensor(boxes).float(), torch.tensor([0, 1]), masks, none)
    return images, torch.tensor([[96, 128], [80, 100]]), [truth, empty]


def terms_of(model: MaskRCNNFPN, seed: int) -> dict[str, torch.Tensor]:
    return loss_terms(model, *batch(), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mask", [True, False])
def test_losses_fall_and_reach_every_layer(pyramid: MakePyramid, mask: bool) -> None:
    torch.manual_seed(0)
    model = new_network(pyramid(f"model.mask={str(mask).lower()}", "detections.batch_per_image=32"))
    assert isinstance(model, MaskRCNNFPN)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.02, momentum=0.9)
    first = terms_of(model, 0)
    assert set(first) == BOX_TERMS | ({"mask"} if mask else set())
    before = sum(first.values(), torch.zeros(()))
    before.backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert not idle
    for step in range(30):
        optimizer.zero_grad()
        total = sum(terms_of(model, step).values(), torch.zeros(()))
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        after = sum(terms_of(model, 0).values(), torch.zeros(()))
    assert after < 0.7 * before.detach()


def test_equal_generators_give_equal_losses(pyramid: MakePyramid) -> None:
    torch.manual_seed(0)
    model = MaskRCNNFPN(pyramid()).train()
    first, second = terms_of(model, 4), terms_of(model, 4)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pictures_of_nothing_give_finite_losses(pyramid: MakePyramid) -> None:
    model = MaskRCNNFPN(pyramid()).train()
    images, sizes, (_, empty) = batch()
    terms = loss_terms(model, images, sizes, [empty, empty], torch.Generator().manual_seed(0))
    assert terms["mask"] == 0
    assert all(torch.isfinite(value) for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())  # DDP waits for every one
