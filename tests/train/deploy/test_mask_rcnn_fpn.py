"""The deploy form on a pyramid against the whole network in numpy, float64, loops and no canvas."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from maskrt.train.deploy.mask_rcnn_fpn import DeployMaskRCNNFPN
from maskrt.train.networks.layers import BatchNorm, Conv
from maskrt.train.networks.picture_edge import edge_repeated, inside_of
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.networks.resnet import Bottleneck
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe

Array = npt.NDArray[np.float64]
MakePyramid = Callable[..., MaskRCNNFPNRecipe]

CANVAS_HW = (96, 160)
TOLERANCE = 1e-4  # of scores and masks: FP32 against float64 through some twenty layers
BOX_TOLERANCE_PX = 1e-3

DETECTRON2 = ("model.sampling_ratio=0", "model.stride_in_1x1=true", "input.channel_order=BGR")
TORCHVISION = (
    *("model.roi_aligned=false", "model.level_rule=torchvision", "model.anchors_whole_px=true"),
    *("model.anchor_steps=picture", "proposals.min_size_px=0.001", "detections.min_size_px=0.01"),
)
SECOND = ("model.rpn_convolutions=2", "model.box_convolutions=2", "model.mask_convolutions=4")
PLAIN_HEADS = ("model.head_norm=false", "model.box_convolutions=0", "model.box_linears=2")


def lively(recipe: MaskRCNNFPNRecipe) -> MaskRCNNFPN:
    """Random weights, yet norms that are not trivial, scores that spread and boxes that move."""
    torch.manual_seed(1)
    model = MaskRCNNFPN(recipe).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
        x = model.normalize(pictures(1), torch.tensor([CANVAS_HW]))
        outputs = (model.fpn.output2, model.fpn.output3, model.fpn.output4, model.fpn.output5)
        for level, layer in zip(model.features(x), outputs, strict=False):
            (layer.norm or layer).weight.mul_(1 / level.std())  # or RoIs would be on one level
        maps = model.features(x)
        logits, deltas = model.rpn(maps[0])
        model.rpn.objectness_logits.weight.mul_(3 / logits.std())
        model.rpn.anchor_deltas.weight.mul_(0.3 / deltas.std())
        rois = torch.rand(1, 100, 2) * 60
        rois = torch.cat((rois, rois + 8 + torch.rand(1, 100, 2) * 60), dim=2)
        x = model.box_head(model.pool(maps, rois, recipe.model.box_cells))
        logits, deltas = model.box_predictor(x)
        model.box_predictor.cls_score.weight.mul_(2.5 / logits.std(dim=0).mean())
        model.box_predictor.cls_score.bias.sub_(model.box_predictor(x)[0].mean(dim=0))
        model.box_predictor.bbox_pred.weight.mul_(1.0 / deltas.std())
        if model.mask_head is not None:
            pooled = model.pool(maps, rois, recipe.model.mask_cells)
            masks = model.mask_head(pooled, torch.arange(100) % 3)
            model.mask_head.predictor.weight.mul_(3 / masks.std())
    return model


def pictures(count: int, seed: int = 0) -> Tensor:
    """(count, H, W, 3) uint8: blocks of 8 x 8 px of noise, so that places differ."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, CANVAS_HW[0] // 8, CANVAS_HW[1] // 8, 3)
    coarse = torch.randint(0, 256, shape, generator=generator)
    return coarse.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2).to(torch.uint8)


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def conv(x: Array, layer: torch.nn.Module) -> Array:
    assert isinstance(layer, Conv)
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    edge = kernel // 2
    wide = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (kernel, kernel), (1, 2))
    y = np.einsum("chwij,ocij->ohw", windows[:, ::stride, ::stride], array(layer.weight))
    if layer.bias is not None:
        y = y + array(layer.bias)[:, None, None]
    if layer.norm is not None:
        norm = layer.norm
        scale = array(norm.weight) / np.sqrt(array(norm.running_var) + 1e-5)
        y = (y - array(norm.running_mean)[:, None, None]) * scale[:, None, None]
        y = y + array(norm.bias)[:, None, None]
    return np.maximum(y, 0) if layer.relu else y


def convs(x: Array, layers: torch.nn.Sequential) -> Array:
    for layer in layers:
        x = conv(x, layer)
    return x


def stage(x: Array, blocks: torch.nn.Sequential) -> Array:
    for block in blocks:
        assert isinstance(block, Bottleneck)
        same = x if block.shortcut is None else conv(x, block.shortcut)
        x = np.maximum(conv(conv(conv(x, block.conv1), block.conv2), block.conv3) + same, 0)
    return x


def levels(model: MaskRCNNFPN, x: Array) -> list[Array]:
    """(3, H, W) -> P2 to P6."""
    x = conv(x, model.backbone.stem.conv1)
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    x = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))
    stages = []
    for name in ("res2", "res3", "res4", "res5"):
        x = stage(x, model.backbone.get_submodule(name))
        stages.append(x)
    out, above = [], None
    for number in (5, 4, 3, 2):
        x = conv(stages[number - 2], model.fpn.get_submodule(f"lateral{number}"))
        above = x if above is None else x + above.repeat(2, axis=1).repeat(2, axis=2)
        out.insert(0, conv(above, model.fpn.get_submodule(f"output{number}")))
    return [*out, out[-1][:, ::2, ::2]]


def moved(boxes: Array, deltas: Array, weights: tuple[float, ...], hw: tuple[int, int]) -> Array:
    """Decoded and clipped to the picture."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] / weights[0] * size
    half = size * np.exp(np.minimum(deltas[:, 2:] / weights[2], math.log(1000 / 16))) / 2
    limit = np.array([hw[1], hw[0]])
    return np.hstack((np.clip(centre - half, 0, limit), np.clip(centre + half, 0, limit)))


def nms(boxes: Array, scores: Array, threshold: float) -> list[int]:
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for i in np.argsort(-scores):
        low = np.maximum(boxes[kept, :2], boxes[i, :2])
        inter = np.clip(np.minimum(boxes[kept, 2:], boxes[i, 2:]) - low, 0, None).prod(axis=1)
        if (inter <= threshold * (areas[kept] + areas[i] - inter)).all():
            kept.append(int(i))
    return kept


def level_anchors(recipe: MaskRCNNFPNRecipe, level: int, map_hw: tuple[int, int]) -> Array:
    """In order y, x, ratio."""
    config, stride = recipe.model, 4 * 2**level
    step_y = step_x = stride
    if config.anchor_steps == "picture":
        step_y, step_x = (32 * -(-side // 32) // n for side, n in zip(SIZE_HW, map_hw, strict=True))
    rows = []
    for y in range(map_hw[0]):
        for x in range(map_hw[1]):
            for ratio in config.anchor_ratios:
                w = config.anchor_sizes_px[level] / math.sqrt(ratio) / 2
                h = config.anchor_sizes_px[level] * math.sqrt(ratio) / 2
                if config.anchors_whole_px:
                    w, h = round(w), round(h)
                at_x, at_y = x * step_x, y * step_y
                rows.append((at_x - w, at_y - h, at_x + w, at_y + h))
    return np.array(rows, dtype=float)


SIZE_HW = (70, 98)  # padded to 96 x 128, so that P6 has two cells along both


def proposals(model: MaskRCNNFPN, maps: list[Array]) -> Array:
    config, boxes, scores = model.recipe.proposals, [], []
    for level, x in enumerate(maps):
        hidden = convs(conv(x, model.rpn.conv), model.rpn.more)
        logits = conv(hidden, model.rpn.objectness_logits).transpose(1, 2, 0).ravel()
        deltas = conv(hidden, model.rpn.anchor_deltas).transpose(1, 2, 0).reshape(-1, 4)
        best = np.argsort(-logits)[: config.pre_nms_test]
        anchors = level_anchors(model.recipe, level, (x.shape[1], x.shape[2]))
        found = moved(anchors[best], deltas[best], (1, 1, 1, 1), SIZE_HW)
        real = ((found[:, 2:] - found[:, :2]) > config.min_size_px).all(axis=1)
        found, logits = found[real], logits[best][real]
        kept = nms(found, logits, config.nms_iou)
        boxes.append(found[kept])
        scores.append(logits[kept])
    order = np.argsort(-np.concatenate(scores))[: config.post_nms_test]
    return np.concatenate(boxes)[order]


def bilinear(x: Array, at_y: float, at_x: float) -> Array:
    height, width = x.shape[1:]
    if not (-1 <= at_y <= height and -1 <= at_x <= width):
        return np.zeros(len(x))
    at_y, at_x = min(max(at_y, 0), height - 1), min(max(at_x, 0), width - 1)
    y, x0 = min(int(at_y), height - 2), min(int(at_x), width - 2)
    fy, fx = at_y - y, at_x - x0
    top = x[:, y, x0] * (1 - fx) + x[:, y, x0 + 1] * fx
    return top * (1 - fy) + (x[:, y + 1, x0] * (1 - fx) + x[:, y + 1, x0 + 1] * fx) * fy


def pooled(recipe: MaskRCNNFPNRecipe, maps: list[Array], box: Array, cells: int) -> Array:
    """(C, P, P) of one box."""
    config = recipe.model
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    level = 4 + math.log2(side / config.canonical_px)
    number = min(max(math.floor(level), 2), 5) - 2
    x0, y0, x1, y1 = box / (4 * 2**number) - (0.5 if config.roi_aligned else 0)
    width, height = x1 - x0, y1 - y0
    if not config.roi_aligned:
        width, height = max(width, 1), max(height, 1)
    ratio = config.sampling_ratio
    nx, ny = ratio or math.ceil(width / cells), ratio or math.ceil(height / cells)
    out = np.zeros((maps[0].shape[0], cells, cells))
    for row in range(cells):
        for column in range(cells):
            for j in range(ny):
                for i in range(nx):
                    at_y = y0 + (row + (j + 0.5) / ny) * height / cells
                    at_x = x0 + (column + (i + 0.5) / nx) * width / cells
                    out[:, row, column] += bilinear(maps[number], at_y, at_x) / (nx * ny)
    return out


@dataclass
class Found:
    boxes: Array
    scores: Array
    labels: npt.NDArray[np.int64]
    masks: Array
    rois: Array


def plain_inference(model: MaskRCNNFPN, picture: Tensor) -> Found:
    """Of the valid part of a canvas, padded to 32 px and no further."""
    recipe, config = model.recipe, model.recipe.detections
    valid = array(picture)[: SIZE_HW[0], : SIZE_HW[1]]
    if recipe.input.channel_order == "BGR":
        valid = valid[..., ::-1]
    # the network's own numbers are FP32
    mean, std = (np.float64(np.float32(x)) for x in (recipe.input.mean, recipe.input.std))
    valid = ((valid - mean) / std).transpose(2, 0, 1)
    rest = [-side % 32 for side in SIZE_HW]
    maps = levels(model, np.pad(valid, ((0, 0), (0, rest[0]), (0, rest[1]))))
    rows, rois = [], proposals(model, maps)
    for roi in rois:
        x = convs(pooled(recipe, maps, roi, recipe.model.box_cells), model.box_head.convolutions)
        x = x.ravel()
        for number in range(1, model.box_head.linears + 1):
            layer = model.box_head.get_submodule(f"fc{number}")
            x = np.maximum(array(layer.weight) @ x + array(layer.bias), 0)
        head = model.box_predictor
        logits = array(head.cls_score.weight) @ x + array(head.cls_score.bias)
        deltas = (array(head.bbox_pred.weight) @ x + array(head.bbox_pred.bias)).reshape(-1, 4)
        share = np.exp(logits - logits.max())
        boxes = moved(np.tile(roi, (len(deltas), 1)), deltas, (10, 10, 5, 5), SIZE_HW)
        rows += list(zip(share / share.sum(), range(len(deltas)), boxes, strict=False))
    best = []
    for label in range(len(recipe.class_names)):
        mine = [r for r in rows if r[1] == label and r[0] > config.score_threshold]
        mine = [r for r in mine if ((r[2][2:] - r[2][:2]) > config.min_size_px).all()]
        boxes = np.array([r[2] for r in mine]).reshape(-1, 4)
        best += [mine[i] for i in nms(boxes, np.array([r[0] for r in mine]), config.nms_iou)]
    best = sorted(best, key=lambda row: -row[0])[: config.per_image]
    scores, labels, boxes = (np.array(column) for column in zip(*best, strict=True))
    masks = [mask_of(model, maps, row[2], row[1]) for row in best]
    return Found(boxes, scores, labels, np.array(masks), rois)


def mask_of(model: MaskRCNNFPN, maps: list[Array], box: Array, label: int) -> Array:
    head = model.mask_head
    if head is None:
        return np.zeros((0, 0))
    x = convs(pooled(model.recipe, maps, box, model.recipe.model.mask_cells), head.convolutions)
    wide = np.einsum("cyx,coij->oyixj", x, array(head.deconv.weight))
    wide = wide.reshape(wide.shape[0], 2 * x.shape[1], 2 * x.shape[2])
    wide = np.maximum(wide + array(head.deconv.bias)[:, None, None], 0)
    logits = np.tensordot(array(head.predictor.weight)[label, :, 0, 0], wide, 1)
    return 1 / (1 + np.exp(-(logits + array(head.predictor.bias)[label])))


def run(model: MaskRCNNFPN, images: Tensor, sizes: list[tuple[int, int]]) -> list[Array]:
    recipe = model.recipe
    deployed = DeployMaskRCNNFPN(model, CANVAS_HW, recipe.proposals, recipe.detections).eval()
    with torch.no_grad():
        outputs = deployed(images, torch.tensor(sizes, dtype=torch.int32))
    return [output.numpy() for output in outputs]


@pytest.mark.parametrize(
    "overrides",
    [
        (*DETECTRON2, *PLAIN_HEADS),
        (*TORCHVISION, *PLAIN_HEADS),
        (*TORCHVISION, *SECOND),
        (*DETECTRON2, "model.mask=false"),
    ],
    ids=["detectron2", "torchvision", "torchvision v2", "faster"],
)
def test_the_deploy_form_is_the_network_in_float64(
    pyramid: MakePyramid, overrides: tuple[str, ...]
) -> None:
    """Beside another picture of the batch, on a canvas that is larger than the padded picture."""
    model = lively(pyramid("detections.score_threshold=0.2", *overrides))
    images = pictures(2)
    boxes, scores, labels, *masks, counts = (
        output[0] for output in run(model, images, [SIZE_HW, CANVAS_HW])
    )
    expected = plain_inference(model, images[0])
    count = int(counts)
    assert count == len(expected.scores) > 3
    assert labels[:count].tolist() == expected.labels.tolist()
    assert len(set(labels[:count].tolist())) > 1
    areas = (expected.rois[:, 2:] - expected.rois[:, :2]).prod(axis=1)
    assert len(set(np.searchsorted(model.borders(), areas))) > 2  # levels that RoIs are on
    np.testing.assert_allclose(scores[:count], expected.scores, atol=TOLERANCE)
    np.testing.assert_allclose(boxes[:count], expected.boxes, atol=BOX_TOLERANCE_PX)
    assert len(masks) == (model.mask_head is not None)
    for found in masks:
        np.testing.assert_allclose(found[:count], expected.masks, atol=TOLERANCE)
        assert not found[count:].any()
    assert not boxes[count:].any()


def test_what_lies_outside_the_picture_changes_nothing(pyramid: MakePyramid) -> None:
    model, images, other = lively(pyramid()), pictures(1), pictures(1, seed=7)
    other[0, : SIZE_HW[0], : SIZE_HW[1]] = images[0, : SIZE_HW[0], : SIZE_HW[1]]
    pairs = zip(run(model, images, [SIZE_HW]), run(model, other, [SIZE_HW]), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_a_small_canvas_has_fewer_proposals_than_slots(pyramid: MakePyramid) -> None:
    model = lively(pyramid("proposals.post_nms_test=2000", "detections.per_image=500"))
    boxes, scores, _, masks, counts = run(model, pictures(1), [(1, 1)])
    assert boxes.shape == (1, 500, 4)
    assert masks.shape == (1, 500, 28, 28)
    assert np.isfinite(scores).all()
    assert boxes.max() <= 1
    assert counts[0] < 500


@pytest.mark.parametrize("samples", [0, 2])
def test_a_box_narrower_than_a_cell_at_the_edge_is_pooled_as_without_a_canvas(
    pyramid: MakePyramid, samples: int
) -> None:
    """torchvision gives 0 beyond the map, which ends with a picture of a multiple of 32 px."""
    model = lively(pyramid(*PLAIN_HEADS, *TORCHVISION, f"model.sampling_ratio={samples}"))
    deployed = DeployMaskRCNNFPN(model, CANVAS_HW, model.recipe.proposals, model.recipe.detections)
    side = 64
    narrow = [[63, 10, 64, 30], [60.5, 10, 63, 30], [10, 61, 40, 64], [62.2, 63.3, 64, 64]]
    others = [[0.0, 0, 64, 64], [20, 20, 50, 60], [63, 0, 63, 64], [0, 0, 0, 0]]
    rois = torch.tensor([narrow, others])
    maps = [torch.rand(2, 8, side // stride, side // stride) + 5 for stride in (4, 8, 16, 32)]
    sizes = torch.tensor([[side, side], [side - 5, side - 31]], dtype=torch.int32)
    canvases = []
    for level in maps:
        rows, columns = (level.shape[2] * n // side for n in CANVAS_HW)
        wide = torch.nn.functional.pad(
            level, (0, columns - level.shape[3], 0, rows - level.shape[2])
        )
        ends = torch.tensor(level.shape[2:]).expand(2, 2)
        canvases.append(edge_repeated(wide, inside_of(ends, (rows, columns))))
    for cells in (7, 14):
        expected = model.pool(maps, rois, cells)
        assert (expected[:4].flatten(1).amin(dim=1) == 0).all()  # each reaches beyond
        found = deployed.pool(canvases, rois, sizes, cells)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
