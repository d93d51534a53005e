"""Both Mask R-CNNs' losses and gradients against `numpy_mask_rcnn`, all anchors and RoIs sampled.

Three pictures of different sizes: objects that overlap, one with a crowd, none. The network is
random; what moves its anchors is the same for all cells, so that thresholds fall as they do here on
any processor.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskrt.train.losses.terms import loss_terms
from maskrt.train.networks.families import new_network
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.recipes.recipe import Recipe

from .numpy_mask_rcnn import (
    UNUSED,
    Array,
    Truth,
    Whole,
    box_term,
    class_term,
    cut_out,
    grid_anchors,
    mask_term,
    moved,
    roi_labels,
    rpn_terms,
)
from .three_pictures import agrees, in_float64, in_numpy, target_of

Detector = MaskRCNN | MaskRCNNFPN

SIDE = 64
SIZES = [(64, 64), (57, 64), (64, 50)]
SIZES_PX = [8.0, 16.0, 32.0, 48.0, 64.0]
RATIOS = [0.5, 1.0, 2.0]
BACKGROUND = 10
ANCHORS, ROIS = 1500, 1100
ALL = (
    f"proposals.batch_per_image={ANCHORS}",
    "proposals.positive_fraction=1.0",
    "proposals.pre_nms_train=5000",
    "proposals.post_nms_train=5000",
    "proposals.nms_iou=1.0",
    f"detections.batch_per_image={ROIS}",
    "detections.positive_fraction=1.0",
    "model.norm=frozen",
    "model.head_norm=false",
)
"""More than there are, so that all are sampled, and sampled ones are not what divides."""


BETWEEN_ANCHORS = [18.3, 13.2, 45.4, 51.1]
"""Of IoU 0.7 with two of different shapes."""
AT_THE_EDGE = [0.0, 21.3, 9.3, 33.1]
TRUTHS = [
    target_of(
        (SIDE, SIDE),
        [[4.3, 7.1, 41.7, 33.9], [22.6, 15.2, 59.1, 61.4], BETWEEN_ANCHORS, AT_THE_EDGE],
        [1, 3, 3, 7],
    ),
    target_of((SIDE, SIDE), [[30.2, 5.7, 62.4, 38.8]], [0], [[3.1, 2.4, 33.3, 52.2]]),
    target_of((SIDE, SIDE), [], []),
]


@dataclass
class Said:
    """What the network said of a batch, and of which RoIs, as they came."""

    rpn: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Logits (B, N) and deltas (B, N, 4) of each level."""
    boxes: tuple[Tensor, Tensor] | None = None
    """Logits (B * K, C + 1) and deltas (B * K, C, 4)."""
    masks: Tensor | None = None
    """Logits (P, m, m) of all positives."""
    masked: tuple[Tensor, Tensor] | None = None
    """Features (P, C, h, w) and labels (P,) that the mask head was given."""
    rois: list[Tensor] = field(default_factory=list)
    """(B, K, 4) where features were pooled."""
    maps: list[Tensor | list[Tensor]] = field(default_factory=list)
    """From which."""


def listened(model: Detector, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Notes all of it in the next forward pass."""
    said, pool = Said(), model.pool

    def on_masks(_module: nn.Module, given: tuple[Tensor, Tensor], out: Tensor) -> None:
        said.masked, said.masks = given, out

    def noted(maps: Tensor, rois: Tensor, *cells: int) -> Tensor:
        said.maps.append(maps)
        said.rois.append(rois)
        return pool(maps, rois, *cells)

    model.rpn.register_forward_hook(lambda _m, _i, out: said.rpn.append(out))
    model.box_predictor.register_forward_hook(lambda _m, _i, out: setattr(said, "boxes", out))
    assert model.mask_head is not None
    model.mask_head.register_forward_hook(on_masks)
    monkeypatch.setattr(model, "pool", noted)
    return said


def random_network(recipe: Recipe) -> Detector:
    """Whose outputs are of the size of trained ones."""
    torch.manual_seed(5)
    model = new_network(recipe).train()
    assert isinstance(model, MaskRCNN | MaskRCNNFPN)
    assert model.mask_head is not None
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        model.rpn.anchor_deltas.weight.zero_()
        model.rpn.anchor_deltas.bias.normal_(std=0.12, generator=generator)  # type: ignore[union-attr]
        for layer in (model.rpn.objectness_logits, model.box_predictor.cls_score):
            layer.weight.normal_(std=0.6, generator=generator)
        model.box_predictor.bbox_pred.weight.normal_(std=0.5, generator=generator)
        model.mask_head.predictor.weight.normal_(std=0.6, generator=generator)
    return model


@pytest.fixture(params=["c4", "fpn"])
def model(
    request: pytest.FixtureRequest, tiny: Callable[..., Recipe], pyramid: Callable[..., Recipe]
) -> Detector:
    return random_network((tiny if request.param == "c4" else pyramid)(*ALL))


def anchors_of(model: Detector) -> Array:
    if isinstance(model, MaskRCNN):
        return grid_anchors((SIDE // 16, SIDE // 16), 16, SIZES_PX, RATIOS)
    levels = zip((4, 8, 16, 32, 64), SIZES_PX, strict=True)
    return np.concatenate(
        [grid_anchors((SIDE // step, SIDE // step), step, [size], RATIOS) for step, size in levels]
    )


def test_losses_and_gradients_are_those_of_the_definitions(
    model: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = listened(model, monkeypatch)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    terms = loss_terms(model, images, torch.tensor(SIZES), TRUTHS, generator)
    logits, deltas = (list(parts) for parts in zip(*said.rpn, strict=True))
    anchors, truths = anchors_of(model), [in_numpy(target) for target in TRUTHS]
    objectness, regression = rpn_terms(
        in_float64(logits), in_float64(deltas), anchors, truths, ANCHORS
    )
    agrees(terms["rpn_objectness"], logits, objectness)
    agrees(terms["rpn_box"], deltas, regression)
    for place, truth in enumerate(truths):
        candidates = moved(anchors, in_float64(deltas)[place], SIZES[place])
        check_sampled(said.rois[0][place], np.concatenate((candidates, truth.boxes)), truth)
    check_box_terms(terms, said, truths)
    check_masks(model, terms, said, truths)


def check_sampled(rois: Tensor, candidates: Array, truth: Truth) -> None:
    """Every candidate of use is there once, positives first, and zeros after them all."""
    labels, _ = roi_labels(candidates, truth, BACKGROUND)
    for first, wanted in (
        (0, candidates[(labels >= 0) & (labels < BACKGROUND)]),
        (int(((labels >= 0) & (labels < BACKGROUND)).sum()), candidates[labels == BACKGROUND]),
    ):
        found = rois[first : first + len(wanted)].double().numpy()
        order, other = (np.lexsort(boxes.round(3).T) for boxes in (found, wanted))
        np.testing.assert_allclose(found[order], wanted[other], rtol=0, atol=1e-4)
    assert not rois[int((labels >= 0).sum()) :].any()


def labelled(said: Said, truths: list[Truth]) -> tuple[Array, Whole, Array]:
    """The batch's RoIs (B * K, 4), their labels (B * K,) and their objects' boxes (B * K, 4)."""
    labels, boxes = [], []
    for rois, truth in zip(said.rois[0].double().numpy(), truths, strict=True):
        real = rois.any(axis=1)
        ofs, matches = roi_labels(rois[real], truth, BACKGROUND)
        labels.append(np.concatenate((ofs, np.full(len(rois) - len(ofs), UNUSED))))
        boxes.append(np.zeros(rois.shape))
        if len(truth.boxes):
            boxes[-1][: len(ofs)] = truth.boxes[matches]
    rois = said.rois[0].double().numpy().reshape(-1, 4)
    return rois, np.concatenate(labels), np.concatenate(boxes)


def check_box_terms(terms: dict[str, Tensor], said: Said, truths: list[Truth]) -> None:
    rois, labels, boxes = labelled(said, truths)
    assert said.boxes is not None
    logits, deltas = said.boxes
    agrees(terms["box_class"], [logits], class_term(in_float64([logits]), labels))
    agrees(terms["box_delta"], [deltas], box_term(in_float64([deltas]), rois, boxes, labels))


def check_masks(model: Detector, terms: dict[str, Tensor], said: Said, truths: list[Truth]) -> None:
    """The term, and that the head is given the positives' features and labels, in their order."""
    assert said.masks is not None
    assert said.masked is not None
    wanted, labels, features = [], [], []
    for place, truth in enumerate(truths):
        rois = said.rois[0][place]
        rois = rois[rois.any(dim=1)]
        classes, matches = roi_labels(rois.double().numpy(), truth, BACKGROUND)
        hit = np.flatnonzero((classes >= 0) & (classes < BACKGROUND))
        labels.extend(classes[hit])
        side = said.masks.shape[-1]
        wanted += [cut_out(truth.masks[matches[n]], rois[n].double().numpy(), side) for n in hit]
        if len(hit):
            features.append(pooled(model, said.maps[0], place, rois[hit][None]))
    given, classes_given = said.masked
    assert classes_given.tolist() == labels
    torch.testing.assert_close(given, torch.cat(features), atol=1e-5, rtol=1e-5)
    agrees(terms["mask"], [said.masks], mask_term(in_float64([said.masks]), np.stack(wanted)))


def pooled(model: Detector, maps: Tensor | list[Tensor], place: int, rois: Tensor) -> Tensor:
    """What the mask head sees of RoIs (1, K, 4) of one picture."""
    if isinstance(model, MaskRCNNFPN):
        one = [level[place : place + 1] for level in maps]
        return MaskRCNNFPN.pool(model, one, rois, model.recipe.model.mask_cells)
    assert isinstance(maps, Tensor)
    return model.subnet(MaskRCNN.pool(model, maps[place : place + 1], rois))
