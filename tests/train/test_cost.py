"""Parameters and MACs of every row of the paper's comparison.

Expected values were counted apart from this code, by closed formulas over layer shapes (800 x 1200
input, so a 50 x 75 map; 15 anchors, 80 classes, 100 detections in the mask branch; biases counted,
norms not).
"""

import json
from pathlib import Path

import pytest

import maskrt
from maskrt.train.cost import fastmask_cost, mask_rcnn_cost, mask_rcnn_fpn_cost
from maskrt.train.recipes.recipe import load_recipe

ROOT = Path(maskrt.__path__[0])
LSC = "lsc_mask_rcnn_r50_512"
# recipe, overrides, millions of parameters, GMAC at 300 and at 1000 RoIs, million MACs per RoI
ROWS = {
    "baseline": ("mask_rcnn_r50_c4", [], 35.91, 399.2, 912.3, 733.0),
    "sep64 c5": (LSC, ["separable_channels=64", "subnet=c5"], 26.07, 323.4, 752.2, 612.6),
    "sep128 c5": (LSC, ["separable_channels=128", "subnet=c5"], 28.68, 335.8, 770.2, 620.6),
    "sep256 c5": (LSC, ["subnet=c5"], 34.87, 364.2, 809.8, 636.7),
    "sep64 light": (LSC, ["separable_channels=64"], 13.34, 183.9, 366.6, 260.9),
    "sep128 light": (LSC, ["separable_channels=128"], 15.94, 204.7, 407.6, 289.8),
    "framework 1": (LSC, [], 22.09, 249.8, 493.1, 347.6),
    "Cout 256 global": (LSC, ["subnet_channels=256", "pooling=14"], 20.52, 198.2, 360.1, 231.3),
    "Cout 256": (LSC, ["subnet_channels=256"], 20.83, 198.3, 360.4, 231.6),
    "Cout 512 global": (LSC, ["pooling=14"], 21.48, 249.6, 492.5, 347.0),
    "framework 2": ("lsc_mask_rcnn_r50_1024", [], 24.62, 352.8, 758.5, 579.7),
}


@pytest.mark.parametrize("row", ROWS)
def test_counts_are_those_of_the_table(row: str) -> None:
    name, changes, parameters, at_300, at_1000, per_roi = ROWS[row]
    recipe = load_recipe(name, [f"model.{change}" for change in changes])
    few, many = mask_rcnn_cost(recipe, rois=300), mask_rcnn_cost(recipe, rois=1000)
    assert few.parameters / 1e6 == pytest.approx(parameters, abs=0.01)
    assert few.total / 1e9 == pytest.approx(at_300, rel=0.01)
    assert many.total / 1e9 == pytest.approx(at_1000, rel=0.01)
    assert many.box_branch / 1000 / 1e6 == pytest.approx(per_roi, rel=0.01)


def test_fixed_parts_are_those_of_the_table() -> None:
    base = mask_rcnn_cost(load_recipe("mask_rcnn_r50_c4"))
    one = mask_rcnn_cost(load_recipe(LSC))
    giga = 1e9
    assert base.separable == 0
    assert [round(n / giga, 1) for n in (base.backbone, base.rpn, base.mask_branch)] == [
        59.8,
        35.7,
        83.9,
    ]
    assert [round(n / giga, 1) for n in (one.separable, one.rpn, one.mask_branch)] == [
        36.9,
        2.3,
        46.6,
    ]
    torchvision = load_recipe("mask_rcnn_r50_c4", ["model.stride_in_1x1=false"])
    assert round(mask_rcnn_cost(torchvision).backbone / giga, 1) == 62.7


def test_the_papers_claims_hold() -> None:
    base, one = (mask_rcnn_cost(load_recipe(name)) for name in ("mask_rcnn_r50_c4", LSC))
    assert 1 - one.parameters / base.parameters == pytest.approx(0.385, abs=0.001)
    assert base.total / one.total == pytest.approx(1.85, abs=0.01)


def test_detections_cost_only_the_mask_branch() -> None:
    recipe = load_recipe("lsc_mask_rcnn_tiny")
    few, many = (mask_rcnn_cost(recipe, (384, 384), 100, n) for n in (10, 50))
    assert many.mask_branch == 5 * few.mask_branch
    assert many.total - few.total == many.mask_branch - few.mask_branch


def test_a_pyramids_parts_are_those_of_its_layers() -> None:
    """800 x 1333 px are padded to 800 x 1344: maps of 200 x 336 to 13 x 21 cells, 256 channels."""
    whole, boxes = (
        mask_rcnn_fpn_cost(load_recipe(name), (800, 1333))  # type: ignore[arg-type]
        for name in ("mask_rcnn_r50_fpn", "faster_rcnn_r50_fpn")
    )
    cells = [200 * 336, 100 * 168, 50 * 84, 25 * 42, 13 * 21]
    three = 9 * 256 * 256
    laterals = sum(256 * n * 256 * 2**i for i, n in enumerate(cells[:4]))
    assert whole.pyramid == laterals + three * sum(cells[:4])
    assert whole.rpn == (three + 256 * 15) * sum(cells)
    assert whole.box_branch == 1000 * 1024 * (256 * 49 + 1024 + 81 + 320)
    assert whole.mask_branch == 100 * 196 * (4 * three + 4 * 256 * 256 + 4 * 256 * 80)
    assert (boxes.mask_branch, boxes.total) == (0, whole.total - whole.mask_branch)
    assert whole.parameters == 44_343_216


def test_torchvisions_network_costs_what_a_hand_count_gives_and_its_record_says() -> None:
    """maskrcnn_resnet50_fpn on 800 x 1344 px: 91 classes with background, 100 masks.

    torch's own counter gives 269,193,583,872 on torchvision's network itself. Here the background
    has no box and no mask; the exported graph computes a mask's own class only, a product with
    weights picked at run time, which counts as no layer.
    """
    overrides = ["model.stride_in_1x1=false", f"classes={[f'c{n}' for n in range(90)]}"]
    cost = mask_rcnn_fpn_cost(load_recipe("mask_rcnn_r50_fpn", overrides), (800, 1344))  # type: ignore[arg-type]
    cells = [400 * 672, 200 * 336, 100 * 168, 50 * 84, 25 * 42]
    body, wide = cells[0] * 64 * 3 * 49, 64
    for before, after, blocks, narrow in zip(
        (cells[1], *cells[1:]), cells[1:], (3, 4, 6, 3), (64, 128, 256, 512), strict=False
    ):
        out = 4 * narrow
        body += before * wide * narrow + after * (narrow * narrow * 9 + narrow * out + wide * out)
        body += (blocks - 1) * after * (out * narrow + narrow * narrow * 9 + narrow * out)
        wide = out
    assert cost.backbone == body
    background = 1000 * 1024 * 4 + 100 * 784 * 256
    assert cost.total + background == 269_193_583_872
    record = ROOT / "eval" / "records" / "torchvision_speed_cpu.json"
    assert cost.total - 100 * 784 * 256 * 90 == json.loads(record.read_text())["layer_macs"]


def test_fastmask_counts_are_those_of_its_layers() -> None:
    recipe = load_recipe("fastmask_r39")
    cost = fastmask_cost(recipe)  # type: ignore[arg-type]
    # 10,198 windows of 972 x 1300 px, each 12,800 x 512 + 512 x 1024 + 1024
    assert cost.objectness == 10_198 * (12_800 * 512 + 512 * 1024 + 1024)
    # 1000 windows, each attention 12,800 x 100, rank 12,800 x 512, mask 512 x 1600
    assert cost.masks == 1000 * (12_800 * 100 + 12_800 * 512 + 512 * 1600)
    cells = sum(
        h * w
        for h, w in ((61, 82), (41, 55), (31, 41), (21, 28), (16, 21), (11, 14), (8, 11), (6, 7))
    )
    assert cost.reduce == cells * 1024 * 128
    # the neck runs at every level but each stream's last: 3 x 3 to 256 channels, 1 x 1 back
    sources = 61 * 82 + 41 * 55 + 31 * 41 + 21 * 28 + 16 * 21 + 11 * 14
    assert cost.neck == sources * (9 * 1024 * 256 + 256 * 1024)
    assert cost.parameters / 1e6 == pytest.approx(27.004, abs=0.002)
    assert cost.total == cost.body + cost.neck + cost.reduce + cost.objectness + cost.masks


def test_many_shots_cost_the_body_many_times() -> None:
    one = fastmask_cost(load_recipe("fastmask_r39"))  # type: ignore[arg-type]
    many = fastmask_cost(load_recipe("deepmask_r39"))  # type: ignore[arg-type]
    assert many.neck == 0
    assert 1.5 < many.body / one.body < 2.5  # the areas of eight sizes, less the second stream
    assert many.objectness == pytest.approx(one.objectness, rel=0.02)
