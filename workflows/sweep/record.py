"""What a sweep found, as the plain JSON values that its tables are made from."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...train.cost import (
    MaskRCNNCost,
    MaskRCNNFPNCost,
    fastmask_cost,
    mask_rcnn_cost,
    mask_rcnn_fpn_cost,
)
from ...train.recipes.fastmask import FastMaskRecipe
from ...train.recipes.mask_rcnn import MaskRCNNRecipe
from ...train.recipes.recipe import Recipe, load_recipe
from .plan import Plan, Row, Table
from .runs import Run

Costs = dict[str, int]


def tables_of(plan: Plan, runs: list[Run]) -> dict[str, Any]:
    """Every table of the sweep with the runs that are finished."""
    return {name: _table(plan, table, runs) for name, table in plan.tables.items()}


def _table(plan: Plan, table: Table, runs: list[Run]) -> dict[str, Any]:
    rows = []
    for name, paper in table.rows.items():
        row = plan.rows[name]
        of_row = [run for run in runs if run.name == name]
        rows.append({**_row(name, row), "paper": list(paper), "runs": _results(of_row)})
    head = dataclasses.asdict(table.head)
    return {**head, "metrics": list(table.head.metrics), "rows": rows}


def _row(name: str, row: Row) -> dict[str, Any]:
    costs = _costs(load_recipe(row.recipe, row.overrides))
    values = {"name": name, "label": row.label, "recipe": row.recipe}
    return {**values, "overrides": list(row.overrides), "of": row.of, **costs}


def _results(runs: list[Run]) -> list[dict[str, Any]]:
    found = ((run, run.finished()) for run in runs)
    return [
        {"seed": run.seed, "steps": one.steps, "measured": one.measured}
        for run, one in found
        if one is not None
    ]


def _costs(recipe: Recipe) -> Costs:
    """Parameters, and MACs of one picture of the recipe's canvas with all slots in use."""
    if isinstance(recipe, FastMaskRecipe):
        whole = fastmask_cost(recipe)
        return {"parameters": whole.parameters, "macs": whole.total}
    size, rois, masks = recipe.input.canvas_hw, recipe.proposals, recipe.detections
    counted: MaskRCNNCost | MaskRCNNFPNCost
    if isinstance(recipe, MaskRCNNRecipe):
        counted = mask_rcnn_cost(recipe, size, rois.post_nms_test, masks.per_image)
    else:
        counted = mask_rcnn_fpn_cost(recipe, size, rois.post_nms_test, masks.per_image)
    return {"parameters": counted.parameters, "macs": counted.total}
