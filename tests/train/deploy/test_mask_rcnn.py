"""The deploy form against plain inference: training-form layers, loops, dynamic shapes."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskrt.train.deploy.mask_rcnn import DeployMaskRCNN
from maskrt.train.networks.heads import MaskHead
from maskrt.train.networks.layers import BatchNorm, Conv, Doubling, FrozenNorm, fold
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe

MakeRecipe = Callable[..., MaskRCNNRecipe]

CANVAS_HW = (96, 112)
# Folded norms and matrix-product RoIAlign round differently from what is written here: about 20
# layers of 1e-7 each, on activations of order 1 and logits of order 10 (seen: a tenth of these).
SCORE_TOLERANCE = 5e-5
BOX_TOLERANCE_PX = 1e-3
MASK_TOLERANCE = 1e-4


def lively(recipe: MaskRCNNRecipe, seed: int = 0) -> MaskRCNN:
    """Random weights, yet norms that are not trivial, confident scores and boxes that move."""
    torch.manual_seed(seed)
    model = MaskRCNN(recipe).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (BatchNorm, FrozenNorm)):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
        images, sizes = pictures(1), torch.tensor([CANVAS_HW])
        features = model.features(model.normalize(images, sizes))
        logits, deltas = model.rpn(features)
        model.rpn.objectness_logits.weight.mul_(3 / logits.std())
        model.rpn.anchor_deltas.weight.mul_(0.3 / deltas.std())
        rois = torch.rand(1, 200, 2) * 70
        rois = torch.cat((rois, rois + 8 + torch.rand(1, 200, 2) * 30), dim=2)
        x = model.subnet(model.pool(features, rois))
        logits, deltas = model.box_predictor(model.subnet.pooled(x))
        # the mean over RoIs would make them all one class
        model.box_predictor.cls_score.weight.mul_(2.5 / logits.std(dim=0).mean())
        scaled = model.box_predictor(model.subnet.pooled(x))[0]
        model.box_predictor.cls_score.bias.sub_(scaled.mean(dim=0))
        model.box_predictor.bbox_pred.weight.mul_(1.0 / deltas.std())
        masks = model.mask_head(x, torch.arange(200) % len(recipe.class_names))
        model.mask_head.predictor.weight.mul_(3 / masks.std())
    return model


def pictures(count: int, seed: int = 0) -> Tensor:
    """(count, H, W, 3) uint8: blocks of 8 x 8 px of noise, so that places differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(
        0, 256, (count, CANVAS_HW[0] // 8, CANVAS_HW[1] // 8, 3), generator=generator
    )
    return coarse.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2).to(torch.uint8)


@dataclass
class Found:
    boxes: Tensor  # (n, 4)
    scores: Tensor
    labels: Tensor
    masks: Tensor  # (n, m, m)


def decoded(boxes: Tensor, deltas: Tensor, weights: tuple[float, ...]) -> Tensor:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    dx, dy, dw, dh = (deltas / torch.tensor(weights)).T
    x = boxes[:, 0] + width / 2 + dx * width
    y = boxes[:, 1] + height / 2 + dy * height
    width = width * torch.exp(dw.clamp(max=math.log(1000 / 16)))
    height = height * torch.exp(dh.clamp(max=math.log(1000 / 16)))
    return torch.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), dim=1)


def clipped(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    height, width = size_hw
    x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
    return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)


def has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def plain_nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Indices kept, best first."""
    rows, kept = boxes.tolist(), []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(rows[i], rows[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def plain_roi_align(features: Tensor, boxes: Tensor, cells: int, samples: int) -> Tensor:
    """(C, h, w) and boxes inside the canvas (n, 4) -> (n, C, P, P), through grid_sample."""
    size_wh = torch.tensor([features.shape[2], features.shape[1]]) * 16.0
    steps = (torch.arange(cells * samples) + 0.5) / (cells * samples)
    low, high = boxes[:, :2] / size_wh * 2 - 1, boxes[:, 2:] / size_wh * 2 - 1
    x = low[:, :1] + steps * (high[:, :1] - low[:, :1])
    y = low[:, 1:] + steps * (high[:, 1:] - low[:, 1:])
    shape = (len(boxes), len(steps), len(steps))
    grid = torch.stack((x[:, None].expand(shape), y[:, :, None].expand(shape)), dim=3)
    many = features.expand(len(boxes), -1, -1, -1)
    fine = F.grid_sample(many, grid, padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, samples)


def plain_anchors(recipe: MaskRCNNRecipe, map_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Anchors in order y, x, size, ratio, and the (y, x) each is centred on."""
    boxes, centers = [], []
    for y in range(map_hw[0]):
        for x in range(map_hw[1]):
            for size in recipe.model.anchor_sizes_px:
                for ratio in recipe.model.anchor_ratios:
                    w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    boxes.append([16 * x - w / 2, 16 * y - h / 2, 16 * x + w / 2, 16 * y + h / 2])
                    centers.append([16 * y, 16 * x])
    return torch.tensor(boxes), torch.tensor(centers)


def plain_normalized(recipe: MaskRCNNRecipe, picture: Tensor, size_hw: tuple[int, int]) -> Tensor:
    valid = picture[: size_hw[0], : size_hw[1]].float()  # RGB
    if recipe.input.channel_order == "BGR":
        valid = valid[..., [2, 1, 0]]
    valid = (valid - torch.tensor(recipe.input.mean)) / torch.tensor(recipe.input.std)
    return valid.permute(2, 0, 1)[None]


def plain_proposals(model: MaskRCNN, features: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Detectron2's order: top-k, clip, drop empty, NMS, first so many."""
    config = model.recipe.proposals
    logits, deltas = model.rpn(features)
    anchors, centers = plain_anchors(model.recipe, features.shape[2:])
    inside = (centers < torch.tensor(size_hw)).all(dim=1)
    logits, deltas, anchors = logits[0, inside], deltas[0, inside], anchors[inside]
    scores, index = logits.topk(min(config.pre_nms_test, len(logits)))
    boxes = clipped(decoded(anchors[index], deltas[index], (1, 1, 1, 1)), size_hw)
    real = has_area(boxes)
    boxes, scores = boxes[real], scores[real]
    return boxes[plain_nms(boxes, scores, config.nms_iou)[: config.post_nms_test]]


def plain_box_head(
    model: MaskRCNN, features: Tensor, rois: Tensor, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels: softmax, threshold, NMS class by class, best so many."""
    config, pooling = model.recipe.detections, model.recipe.model
    x = plain_roi_align(features[0], rois, pooling.roi_size, pooling.sampling_ratio)
    logits, deltas = model.box_predictor(model.subnet.pooled(model.subnet(x)))
    probabilities = logits.softmax(dim=1)
    rows = []
    for label in range(len(model.recipe.class_names)):
        boxes = clipped(decoded(rois, deltas[:, label], (10, 10, 5, 5)), size_hw)
        wanted = (probabilities[:, label] > config.score_threshold) & has_area(boxes)
        boxes, scores = boxes[wanted], probabilities[wanted, label]
        for i in plain_nms(boxes, scores, config.nms_iou):
            rows.append((scores[i].item(), label, boxes[i]))
    rows = sorted(rows, key=lambda row: -row[0])[: config.per_image]
    boxes = torch.stack([row[2] for row in rows]) if rows else torch.zeros(0, 4)
    return boxes, torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])


@torch.no_grad()
def plain_inference(model: MaskRCNN, picture: Tensor, size_hw: tuple[int, int]) -> Found:
    """Of the valid part of a canvas by itself: nothing is computed beyond it."""
    features = model.features(plain_normalized(model.recipe, picture, size_hw))
    rois = plain_proposals(model, features, size_hw)
    boxes, scores, labels = plain_box_head(model, features, rois, size_hw)
    pooling, head = model.recipe.model, model.mask_head
    x = plain_roi_align(features[0], boxes, pooling.roi_size, pooling.sampling_ratio)
    every_class = head.predictor(head.deconv(model.subnet(x)).relu()).sigmoid()
    return Found(boxes, scores, labels, every_class[torch.arange(len(boxes)), labels])


def deployed(model: MaskRCNN) -> DeployMaskRCNN:
    recipe = model.recipe
    return DeployMaskRCNN(model, CANVAS_HW, recipe.proposals, recipe.detections).eval()


def assert_same(outputs: tuple[Tensor, ...], image: int, expected: Found) -> None:
    boxes, scores, labels, masks, counts = (output[image] for output in outputs)
    count = int(counts)
    assert count == len(expected.scores)
    assert labels[:count].tolist() == expected.labels.tolist()
    close = torch.testing.assert_close
    close(scores[:count], expected.scores, atol=SCORE_TOLERANCE, rtol=0)
    close(boxes[:count], expected.boxes, atol=BOX_TOLERANCE_PX, rtol=0)
    close(masks[:count], expected.masks, atol=MASK_TOLERANCE, rtol=0)


BGR = (
    "input.channel_order=BGR",
    "input.mean=[103.53, 116.28, 123.675]",
    "input.std=[1.0, 1.0, 1.0]",
    "model.norm=frozen",
    "model.stride_in_1x1=true",
    "model.subnet=c5",
    "model.separable_channels=0",
)


@pytest.mark.parametrize(
    "overrides",
    [(), BGR, ("model.pooling=14", "model.roi_size=14"), ("proposals.pre_nms_test=100",)],
    ids=["lsc", "baseline in BGR", "global pooling", "few anchors"],
)
def test_deploy_form_is_plain_inference(tiny: MakeRecipe, overrides: tuple[str, ...]) -> None:
    wide = (
        "detections.candidates=400",
        "detections.per_image=100",
        "detections.score_threshold=0.2",
    )
    model = lively(tiny(*wide, *overrides))
    images, sizes = pictures(3), torch.tensor([CANVAS_HW, (64, 80), (50, 107)], dtype=torch.int32)
    with torch.no_grad():
        outputs = deployed(model)(images, sizes)
    kinds = set()
    for image, size_hw in enumerate(sizes.tolist()):
        expected = plain_inference(model, images[image], tuple(size_hw))
        assert_same(outputs, image, expected)
        kinds |= set(expected.labels.tolist())
        assert 3 < len(expected.scores) < 100  # the threshold cuts, not the number of slots
        assert expected.scores.min() < 0.5
    assert len(kinds) > 2  # not one class everywhere


def test_detections_beyond_the_slots_are_the_worst(tiny: MakeRecipe) -> None:
    model = lively(tiny("detections.per_image=5"))
    images, size = pictures(1), torch.tensor([CANVAS_HW], dtype=torch.int32)
    with torch.no_grad():
        outputs = deployed(model)(images, size)
    assert outputs[4].tolist() == [5]
    assert_same(outputs, 0, plain_inference(model, images[0], CANVAS_HW))


@pytest.fixture(scope="module")
def outputs_of_three(tiny: MakeRecipe) -> tuple[tuple[Tensor, ...], Tensor]:
    sizes = torch.tensor([CANVAS_HW, (64, 80), (17, 1)], dtype=torch.int32)
    recipe = tiny("detections.per_image=60", "detections.score_threshold=0.3")
    with torch.no_grad():
        return deployed(lively(recipe))(pictures(3), sizes), sizes


Outputs = tuple[tuple[Tensor, ...], Tensor]


def test_shapes_and_dtypes_are_fixed(outputs_of_three: Outputs) -> None:
    shapes = [(tuple(o.shape), o.dtype) for o in outputs_of_three[0]]
    assert shapes == [
        ((3, 60, 4), torch.float32),
        ((3, 60), torch.float32),
        ((3, 60), torch.int32),
        ((3, 60, 28, 28), torch.float32),
        ((3,), torch.int32),
    ]


def test_slots_past_the_count_are_zero(outputs_of_three: Outputs) -> None:
    *arrays, counts = outputs_of_three[0]
    assert 0 < counts[:2].min() <= counts.max() < 60
    for image, count in enumerate(counts.tolist()):
        assert (arrays[1][image, :count] > 0.3).all()
        assert all(not array[image, count:].any() for array in arrays)


def test_scores_are_sorted(outputs_of_three: Outputs) -> None:
    scores = outputs_of_three[0][1]
    assert torch.equal(scores, scores.sort(dim=1, descending=True).values)


def test_masks_are_probabilities_that_differ(outputs_of_three: Outputs) -> None:
    (_, _, _, masks, counts), _ = outputs_of_three
    real = masks[0, : counts[0]]
    assert ((real >= 0) & (real <= 1)).all()
    assert (real.flatten(1).amax(dim=1) - real.flatten(1).amin(dim=1) > 0.1).any()


def test_no_box_leaves_the_valid_region(outputs_of_three: Outputs) -> None:
    (boxes, *_), sizes = outputs_of_three
    assert (boxes >= 0).all()
    assert (boxes <= sizes[:, None, [1, 0, 1, 0]]).all()


@pytest.mark.parametrize("size_hw", [(64, 80), (50, 107), (17, 1), (1, 1)])
def test_no_proposal_leaves_the_valid_region(tiny: MakeRecipe, size_hw: tuple[int, int]) -> None:
    model = lively(tiny())
    deploy = deployed(model)
    sizes = torch.tensor([size_hw], dtype=torch.int32)
    with torch.no_grad():
        features = model.features(model.normalize(pictures(1), sizes))
        boxes, real = deploy.propose(*model.rpn(features), sizes)
        expected = plain_proposals(model, features, size_hw)
    assert int(real.sum()) == len(expected)
    torch.testing.assert_close(boxes[real], expected, atol=BOX_TOLERANCE_PX, rtol=0)
    assert (boxes >= 0).all()
    assert (boxes <= sizes[:, None, [1, 0, 1, 0]]).all()
    assert has_area(boxes[real]).all()
    assert not boxes[~real].any()


def test_what_lies_outside_the_valid_region_changes_nothing(tiny: MakeRecipe) -> None:
    deploy = deployed(lively(tiny()))
    sizes = torch.tensor([(64, 80), (50, 107)], dtype=torch.int32)
    images, other = pictures(2), pictures(2)
    for image, (height, width) in enumerate(sizes.tolist()):
        noise = pictures(1, seed=7)[0]
        noise[:height, :width] = images[image, :height, :width]
        other[image] = noise
    assert not torch.equal(images, other)
    with torch.no_grad():
        pairs = zip(deploy(images, sizes), deploy(other, sizes), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_pictures_of_a_batch_do_not_mix(tiny: MakeRecipe) -> None:
    deploy = deployed(lively(tiny()))
    sizes = torch.tensor([(64, 80), CANVAS_HW], dtype=torch.int32)
    images = pictures(2)
    with torch.no_grad():
        both, swapped = deploy(images, sizes), deploy(images.flip(0), sizes.flip(0))
    for one, other in zip(both, swapped, strict=True):
        torch.testing.assert_close(one, other.flip(0), atol=MASK_TOLERANCE, rtol=0)


def test_a_black_canvas_has_finite_outputs(tiny: MakeRecipe) -> None:
    images = torch.zeros(1, *CANVAS_HW, 3, dtype=torch.uint8)
    with torch.no_grad():
        outputs = deployed(lively(tiny()))(images, torch.tensor([CANVAS_HW], dtype=torch.int32))
    assert all(torch.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize("norm", ["batch", "frozen"])
@pytest.mark.parametrize("stride", [1, 2])
def test_folding_a_norm_is_exact(norm: str, stride: int) -> None:
    torch.manual_seed(2)
    conv = Conv(3, 5, 3, stride=stride, norm=norm, relu=True).eval()
    conv.norm.weight.data.uniform_(-1, 2)
    conv.norm.bias.data.normal_()
    conv.norm.running_mean.normal_()
    conv.norm.running_var.uniform_(0.1, 3)
    conv.double()
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = conv(x)
    conv.fold()
    assert conv.norm is None
    torch.testing.assert_close(conv(x), expected, atol=1e-12, rtol=1e-12)
    weight = conv.weight.clone()
    conv.fold()  # once is enough
    assert torch.equal(conv.weight, weight)


def test_a_folded_deconvolution_gives_every_corner_of_a_cell_as_channels() -> None:
    doubling = Doubling(3, 2).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = doubling(x)
    assert expected.shape == (2, 2, 8, 10)
    doubling.fold()
    weight = doubling.weight.clone()
    doubling.fold()  # once is enough
    assert torch.equal(doubling.weight, weight)
    corners = doubling(x).unflatten(1, (2, 2, 2))
    for i, j in itertools.product(range(2), repeat=2):
        torch.testing.assert_close(corners[:, i, j], expected[:, :, i::2, j::2], rtol=0, atol=1e-12)


def test_a_folded_mask_head_gives_the_same_masks() -> None:
    head = MaskHead(4, 6, 3, convolutions=1).double()
    x, labels = torch.randn(5, 4, 7, 7, dtype=torch.float64), torch.tensor([0, 2, 1, 2, 0])
    expected = head(x, labels)
    assert expected.shape == (5, 14, 14)
    fold(head)
    torch.testing.assert_close(head(x, labels), expected, rtol=0, atol=1e-6)


def test_folding_a_network_leaves_no_norm_and_the_same_features(tiny: MakeRecipe) -> None:
    model = lively(tiny()).double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = model.features(x)
    fold(model)
    assert not any(isinstance(m, (BatchNorm, FrozenNorm)) for m in model.modules())
    torch.testing.assert_close(model.features(x), expected, atol=1e-10, rtol=1e-10)
