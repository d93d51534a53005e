"""Learning rates by hand, and which parameters decay."""

import math
from collections.abc import Callable

import pytest

from maskrt.train.networks.layers import BatchNorm
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.sections import SolverConfig
from maskrt.train.schedule import learning_rate, sgd

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


def test_norms_do_not_decay_and_frozen_stages_are_left_out(
    tiny: Callable[..., MaskRCNNRecipe],
) -> None:
    model = MaskRCNN(tiny("model.freeze_at=1"))
    decaying, norms = sgd(model, SolverConfig(weight_decay=0.25, momentum=0.5)).param_groups
    assert (decaying["weight_decay"], norms["weight_decay"]) == (0.25, 0.0)
    assert decaying["momentum"] == norms["momentum"] == 0.5
    affine = [p for m in model.modules() if isinstance(m, BatchNorm) for p in m.parameters()]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in norms["params"]} == {id(p) for p in affine} & trained
    assert {id(p) for p in decaying["params"]} == trained - {id(p) for p in affine}
    assert not any(id(p) in trained for p in model.backbone.stem.parameters())
