"""The training loop: SGD, warm-up, schedule, mixed precision, logs, and an exact resume.

A run's folder holds `model.yaml` (the resolved recipe, from the first second), `model.safetensors`
(the result), `resume.safetensors` (`run_state`), `log.csv` and, where TensorBoard is installed, its
events. Everything random is decided by (seed, epoch, picture) in the loader and by (seed, step,
rank) here, so a resumed run sees the losses that the uninterrupted one would have seen. More than
one GPU or machine: start it with torchrun.

    data/epochs -> batches -> losses/terms -> one step of `schedule`'s SGD -> run_log, run_state
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..runtime.errors import ConfigError, InputError, TrainError
from ..runtime.files import write_text
from .data.batches import Batch
from .data.dataset import CocoInstances
from .data.epochs import endless_batches
from .data.target import Target
from .losses.terms import loss_terms
from .networks.families import Network
from .recipes.fastmask import FastMaskRecipe
from .recipes.recipe import Recipe, dump_recipe
from .recipes.sections import SolverConfig
from .run_folder import RECIPE, RESULT, STATE, locked, require_no_run, require_run
from .run_log import Log
from .run_state import Run, new_run, restore, save_state
from .schedule import learning_rate
from .seeds import torch_seed
from .weights.checkpoint import save_checkpoint, start_from
from .weights.fine_tuning import require_trained

MOST_WORKERS = 256
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def train(
    recipe: Recipe,
    dataset: CocoInstances,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Path | None = None,
    weights: Path | None = None,
    progress: bool = True,
    overrides: Sequence[str] = (),
) -> Path:
    """Train `recipe` on `dataset` and leave a checkpoint in `out`.

    Args:
        recipe: what to train and how.
        dataset: a train split; its categories are the recipe's classes, in any order.
        out: folder of the run; no other process may train in it meanwhile.
        resume: continue the run that is in `out`, which must be of this recipe but for its steps.
        workers: processes that decode pictures; 0 decodes in this one.
        backbone: checkpoint whose body is taken, all of it and nothing else; when resuming neither
            is looked at.
        weights: checkpoint of which all that fits is taken, see `fine_tuning`.
        progress: whether to show a bar.
        overrides: by which `recipe` differs from its file; kept for `run_state.resumed_recipe`.

    Returns:
        Path of the checkpoint (of the average when `solver.ema_decay` is set).

    Raises:
        ConfigError: processes that cannot share a batch, `weights` of which nothing fits, or layers
            that are not trained and would stay random.
        InputError: the data has other classes, or `out` already holds a run and `resume` is not
            set.
        TrainError: the losses are no longer finite, another process trains in `out`, or the run
            to resume is of another recipe, other annotations or another number of processes.
    """
    rank, ranks, device = _process_group()
    _check_processes(recipe, workers, ranks)
    if not isinstance(recipe, FastMaskRecipe):  # whose proposals have no class
        dataset = dataset.labelled(recipe.class_names, f"recipe {recipe.name}")
    with locked(out) if rank == 0 else contextlib.nullcontext():
        require_run(out) if resume else require_no_run(out)
        run = new_run(recipe, device, overrides)
        taken = None
        if not resume:
            taken = start_from(run.model, backbone, weights)
            require_trained(run.model, taken.kept if taken else (), weights or backbone)
        run.annotations_sha256, run.ranks = dataset.sha256(), ranks
        if not isinstance(recipe, FastMaskRecipe):
            run.category_ids = dataset.category_ids
        if resume:
            restore(run, out / STATE)
        elif rank == 0:
            write_text(out / RECIPE, dump_recipe(recipe))
        module: nn.Module = LossModule(run.model)
        if ranks > 1:
            module = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
        batches = endless_batches(dataset, recipe, run.step, workers, (rank, ranks))
        _steps(run, module, batches, recipe, out, rank, progress and rank == 0)
        final = cast("Network", run.average.module) if run.average is not None else run.model
        if rank == 0:
            save_checkpoint(out / RESULT, final, steps=run.step, category_ids=run.category_ids)
    return out / RESULT


def _check_processes(recipe: Recipe, workers: int, ranks: int) -> None:
    if not 0 <= workers <= MOST_WORKERS:
        raise InputError(
            f"--workers {workers}: expected 0 to {MOST_WORKERS} processes that decode pictures. "
            "Use as many as there are cores, or 0 to decode in the training process."
        )
    batch = recipe.solver.batch
    if batch % ranks:
        raise ConfigError(
            f"solver.batch={batch}: found {ranks} processes to share it; expected a multiple of "
            f"{ranks}. Set solver.batch={max(batch // ranks, 1) * ranks}."
        )


def is_first_rank() -> bool:
    """Whether this process writes the results; the only one is the first."""
    return os.environ.get("RANK", "0") == "0"


def _process_group() -> tuple[int, int, torch.device]:
    """Rank, number of ranks and device; joins the group when torchrun started us."""
    cuda = torch.cuda.is_available()
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    return int(os.environ.get("RANK", "0")), ranks, device


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


def _steps(
    run: Run,
    module: nn.Module,
    batches: Iterator[Batch],
    recipe: Recipe,
    out: Path,
    rank: int,
    progress: bool,
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    solver = recipe.solver
    bar = Progress(console=Console(stderr=True), disable=not progress)
    with contextlib.closing(Log(out, run.step)) as log, bar:
        for _ in bar.track(range(run.step, solver.steps), description=recipe.name):
            terms = _one_step(run, module, next(batches), solver, rank)
            if rank != 0:
                continue
            log.write(run.step, learning_rate(solver, run.step - 1), terms)
            if run.step % solver.checkpoint_every == 0 or run.step == solver.steps:
                save_state(run, out / STATE)


def _one_step(
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
