"""One step of a run: losses of a batch, their gradients, and the weights a little further."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..runtime.errors import TrainError
from .data.batches import Batch
from .data.target import Target
from .losses.terms import loss_terms
from .networks.families import Network
from .recipes.sections import SolverConfig
from .run_state import Run
from .schedule import learning_rate
from .seeds import torch_seed

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class LossModule(nn.Module):
    """The losses as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor, sizes: Tensor, targets: list[Target], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See `loss_terms`."""
        return loss_terms(self.model, images, sizes, targets, generator)


def one_step(
    run: Run, module: nn.Module, batch: Batch, solver: SolverConfig, rank: int
) -> dict[str, float]:
    """Losses of a batch, by name; the network is one step further."""
    terms = _losses(run, module, batch, solver, rank)
    each = torch.stack(list(terms.values()))
    values: list[float] = each.tolist()  # at once: a GPU is waited for
    if not math.isfinite(sum(values)):
        raise TrainError(
            f"step {run.step}: the loss is {sum(values)}; training diverged. Resume from the last "
            "checkpoint with a lower solver.lr or solver.clip_norm=5."
        )
    _descend(run, each.sum(), solver)
    run.step += 1
    return dict(zip(terms, values, strict=True))


def _losses(
    run: Run, module: nn.Module, batch: Batch, solver: SolverConfig, rank: int
) -> dict[str, Tensor]:
    device = run.model.normalize.mean.device
    generator = torch.Generator().manual_seed(torch_seed(solver.seed, rank, run.step))
    half = solver.precision != "fp32"
    with torch.autocast(device.type, DTYPES[solver.precision], enabled=half):
        terms: dict[str, Tensor] = module(
            batch.images.to(device),
            batch.image_sizes.to(device),
            _targets(batch, device),
            generator,
        )
    return terms


def _descend(run: Run, total: Tensor, solver: SolverConfig) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(solver, run.step) * group["rate"]
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(total).backward()
    run.scaler.unscale_(run.optimizer)
    if solver.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), solver.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update_parameters(run.model)


def _targets(batch: Batch, device: torch.device) -> list[Target]:
    return [
        Target(*(t.to(device) for t in picture))
        for picture in zip(batch.boxes, batch.labels, batch.masks, batch.crowd_boxes, strict=True)
    ]
