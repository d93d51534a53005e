"""Stochastic gradient descent: the learning rate of each step, and what decays.

Source: Detectron2 solver/build.py at 02b5c4e2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .networks.layers import BatchNorm
from .recipes.sections import SolverConfig


def learning_rate(solver: SolverConfig, step: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then x0.1 at milestones or a cosine."""
    warm = 1.0
    if step < solver.warmup_steps:
        done = step / solver.warmup_steps
        warm = solver.warmup_factor * (1 - done) + done
    if solver.schedule == "cosine":
        return solver.lr * warm * 0.5 * (1 + math.cos(math.pi * step / solver.steps))
    return float(solver.lr * warm * 0.1 ** sum(step >= m for m in solver.milestones))


def sgd(model: nn.Module, solver: SolverConfig) -> torch.optim.SGD:
    """An optimizer of the trained parameters; those of batch norms do not decay."""
    return torch.optim.SGD(_decay_groups(model, solver), lr=solver.lr, momentum=solver.momentum)


def _decay_groups(model: nn.Module, solver: SolverConfig) -> list[dict[str, Any]]:
    """Trained parameters, those of norms without weight decay."""
    norms = {
        id(p)
        for m in model.modules()
        if isinstance(m, BatchNorm)
        for p in m.parameters(recurse=False)
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {
            "params": [p for p in trained if id(p) not in norms],
            "weight_decay": solver.weight_decay,
        },
        {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0},
    ]
