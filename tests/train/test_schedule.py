"""Learning rates by hand, and which parameters decay."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from maskrt.train.data.dataset import CocoInstances
from maskrt.train.loop import train
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.networks.layers import BatchNorm
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.sections import SolverConfig
from maskrt.train.schedule import learning_rate, never_reached, sgd
from maskrt.train.weights.tensors import load_tensors

STEPS = SolverConfig(lr=2.0, steps=100, warmup_steps=10, warmup_factor=0.1, milestones=(60, 80))
COSINE = SolverConfig(lr=2.0, steps=100, warmup_steps=10, warmup_factor=0.1, schedule="cosine")


@pytest.mark.parametrize(
    ("solver", "step", "rate"),
    [
        (STEPS, 0, 0.2),
        (STEPS, 5, 1.1),
        (STEPS, 10, 2.0),
        (STEPS, 59, 2.0),
        (STEPS, 60, 0.2),
        (STEPS, 79, 0.2),
        (STEPS, 80, 0.02),
        (STEPS, 99, 0.02),
        (COSINE, 0, 0.2),
        (COSINE, 50, 1.0),
        (COSINE, 75, 1 - math.sqrt(0.5)),
        (COSINE, 100, 0.0),
        (SolverConfig(lr=2.0, warmup_steps=0), 0, 2.0),
    ],
)
def test_learning_rate(solver: SolverConfig, step: int, rate: float) -> None:
    assert learning_rate(solver, step) == pytest.approx(rate, abs=1e-12)


def test_a_rate_that_warm_up_keeps_a_short_run_from_is_said() -> None:
    short = SolverConfig(lr=0.005, steps=100, warmup_steps=200, schedule="cosine")
    assert never_reached(short) == (
        "solver.warmup_steps=200 of 100 steps: the learning rate gets to 0.00066 at most, not to "
        "solver.lr=0.005; solver.warmup_steps=10 would reach it"
    )
    for reached in (STEPS, COSINE, SolverConfig(), SolverConfig(steps=10**9)):
        assert never_reached(reached) is None


def test_norms_do_not_decay_and_frozen_stages_are_left_out(
    tiny: Callable[..., MaskRCNNRecipe],
) -> None:
    model = MaskRCNN(tiny("model.freeze_at=1"))
    groups = sgd(model, SolverConfig(weight_decay=0.25, momentum=0.5)).param_groups
    weights, biases, norms = groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.25, 0.0]
    assert [group["momentum"] for group in groups] == [0.5, 0.5, 0.5]
    assert [group["rate"] for group in groups] == [1.0, 1.0, 1.0]
    affine = [p for m in model.modules() if isinstance(m, BatchNorm) for p in m.parameters()]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in norms["params"]} == {id(p) for p in affine} & trained
    decaying = {id(p) for group in (weights, biases) for p in group["params"]}
    assert decaying == trained - {id(p) for p in affine}
    assert not any(id(p) in trained for p in model.backbone.stem.parameters())


def test_fastmasks_norms_and_scale_do_not_decay_and_its_biases_learn_twice_as_fast(
    proposer: Callable[..., FastMaskRecipe],
) -> None:
    recipe = proposer("fastmask_tiny", "solver.bias_lr_factor=2", "model.norm=frozen")
    model = FastMask(recipe)
    weights, biases, norms = sgd(model, recipe.solver).param_groups
    names = {id(p): name for name, p in model.named_parameters()}

    def named(group: dict[str, Any]) -> set[str]:
        return {names[id(p)] for p in group["params"]}

    assert named(norms) == {"norm.weight", "norm.bias", "head.mask_scale", "head.mask_shift"}
    assert named(biases) == {
        *(f"neck.branch.{n}.bias" for n in (0, 1)),
        *(f"head.{n}.bias" for n in ("score_1", "score_2", "objectness", "attention", "mask_2")),
    }
    assert named(weights) == set(names.values()) - named(norms) - named(biases)
    assert (weights["rate"], biases["rate"], norms["rate"]) == (1.0, 2.0, 1.0)


def test_a_step_moves_biases_by_their_own_rate(
    proposer: Callable[..., FastMaskRecipe], shapes_folder: Path, tmp_path: Path
) -> None:
    after = []
    for factor in (1, 2):
        recipe = proposer(
            *("fastmask_tiny", "solver.steps=1", "solver.momentum=0", "solver.clip_norm=0"),
            *("solver.weight_decay=0", f"solver.bias_lr_factor={factor}"),
        )
        dataset, out = CocoInstances(shapes_folder, "train"), tmp_path / str(factor)
        after.append(load_tensors(train(recipe, dataset, out, workers=0, progress=False))[0])
    one, two = after
    for name in ("head.score_1.bias", "head.objectness.bias"):  # from zero
        assert one[name].abs().max() > 0
        assert torch.allclose(two[name], 2 * one[name], rtol=1e-6)
    for name in ("head.score_1.weight", "head.mask_scale", "norm.bias"):
        assert torch.equal(one[name], two[name])
