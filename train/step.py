"""One step of a run: losses of a batch, their gradients, and the weights a little further.

With `solver.accumulate` the batch goes through the network in so many parts, whose gradients are
added up, in a part of the memory. What is a mean over pictures is that of the whole batch to
rounding (both terms of an RPN); what is a mean over sampled RoIs, positives or windows is averaged
over the parts, each weighed by its pictures, while processes count theirs together (`counts`).
Trained norms see one part at a time.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .compiled import compiler_named
from .data.batches import Batch
from .data.target import Target
from .loss_values import LossValues
from .losses.terms import loss_terms
from .networks.families import Network
from .recipes.sections import SolverConfig
from .run_state import Run
from .schedule import learning_rate
from .seeds import torch_seed

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class LossModule(nn.Module):
    """The losses as a forward pass, which is what DistributedDataParallel wraps.

    Every trained parameter has a gradient whatever the pictures, zero where nothing of it was
    used, so that no process looks for those without one.
    """

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
) -> LossValues:
    """Losses of all processes' batches, of which `batch` is this one's; a step is taken.

    Raises:
        ConfigError: the body is to be compiled, and there is no compiler.
        TrainError: the loss is infinite or NaN; on a GPU it is noted, see `loss_values`.
    """
    terms = _gradients(run, module, batch, solver, rank)
    losses = LossValues(terms, run.divergence, run.ranks)
    run.divergence.note(run.step, losses.total)
    _descend(run, solver)
    run.step += 1
    return losses


def _gradients(
    run: Run, module: nn.Module, batch: Batch, solver: SolverConfig, rank: int
) -> dict[str, Tensor]:
    """Losses, averaged over the parts, whose gradients are in the parameters."""
    run.optimizer.zero_grad(set_to_none=True)
    generator = torch.Generator().manual_seed(torch_seed(solver.seed, rank, run.step))
    parts, averages = batch.parts(solver.accumulate), dict[str, Tensor]()
    for number, part in enumerate(parts, 1):
        share = len(part.images) / len(batch.images)
        with contextlib.nullcontext() if number == len(parts) else _unshared(module):
            terms = _losses(run, module, part, solver, generator)
            total = torch.stack(list(terms.values())).sum()
            run.scaler.scale(total * share).backward()
        for name, term in terms.items():
            scaled = term.detach() * share
            averages[name] = averages[name] + scaled if name in averages else scaled
    return averages


def _unshared(module: nn.Module) -> AbstractContextManager[None]:
    """While gradients are not averaged over processes, which the last part's pass does for all."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def _losses(
    run: Run, module: nn.Module, batch: Batch, solver: SolverConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    device = run.model.normalize.mean.device
    half = solver.precision != "fp32"
    compiled = compiler_named() if solver.compile else contextlib.nullcontext()
    with torch.autocast(device.type, DTYPES[solver.precision], enabled=half), compiled:
        terms: dict[str, Tensor] = module(
            _moved(batch.images, device),
            _moved(batch.image_sizes, device),
            _targets(batch, device),
            generator,
        )
    return terms


def _descend(run: Run, solver: SolverConfig) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(solver, run.step) * group["rate"]
    run.scaler.unscale_(run.optimizer)
    if solver.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), solver.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update_parameters(run.model)


def _targets(batch: Batch, device: torch.device) -> list[Target]:
    return [
        Target(*(_moved(t, device) for t in picture))
        for picture in zip(batch.boxes, batch.labels, batch.masks, batch.crowd_boxes, strict=True)
    ]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; from pinned memory without waiting for it."""
    return tensor.to(device, non_blocking=True)
