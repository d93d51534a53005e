"""Stochastic gradient descent: the learning rate of each step, and what decays.

Source: Detectron2 solver/build.py at 02b5c4e2; voidrank/FastMask models/ at cb118f1 for its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .networks.layers import TrainedNorm
from .networks.window_head import WindowHead
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


def never_reached(solver: SolverConfig) -> str | None:
    """A sentence where warm-up takes so much of a run that the rate stays under half of `lr`."""
    end = min(solver.warmup_steps, solver.steps - 1)  # behind it the rate only falls
    looked_at = (*range(0, end, max(end // 1000, 1)), end)
    highest = max(learning_rate(solver, step) for step in looked_at)
    if highest >= solver.lr / 2:
        return None
    return (
        f"solver.warmup_steps={solver.warmup_steps} of {solver.steps} steps: the learning rate "
        f"gets to {highest:.2g} at most, not to solver.lr={solver.lr:g}; "
        f"solver.warmup_steps={solver.steps // 10} would reach it"
    )


def sgd(model: nn.Module, solver: SolverConfig) -> torch.optim.SGD:
    """An optimizer of the trained parameters, in groups for weights, biases and norms.

    Norms do not decay, nor does the scale between FastMask's mask layers, a norm that lost its
    statistics. Each group's `rate` is its learning rate over the schedule's.
    """
    norms = {
        id(p)
        for m in model.modules()
        if isinstance(m, (TrainedNorm, WindowHead))
        for p in m.parameters(recurse=False)
    }
    groups: dict[str, dict[str, Any]] = {
        "weights": {"params": [], "weight_decay": solver.weight_decay, "rate": 1.0},
        "biases": {
            "params": [],
            "weight_decay": solver.weight_decay,
            "rate": solver.bias_lr_factor,
        },
        "norms": {"params": [], "weight_decay": 0.0, "rate": 1.0},
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = "biases" if name.endswith(".bias") else "weights"
            groups["norms" if id(parameter) in norms else kind]["params"].append(parameter)
    fused = True if solver.fused else None  # None is torch's own choice
    return torch.optim.SGD([*groups.values()], lr=solver.lr, momentum=solver.momentum, fused=fused)
