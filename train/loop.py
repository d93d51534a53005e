"""The training loop: SGD, warm-up, schedule, mixed precision, logs, and an exact resume.

A run's folder holds `model.yaml` (the resolved recipe, from the first second), `model.safetensors`
(the result), `resume.safetensors` (`run_state`) with `last.safetensors`, the same as a checkpoint,
and what `watch` writes. Everything random is decided by (seed, epoch, picture) in the loader and by
(seed, step, rank) in `step`, so a resumed run sees the losses that the uninterrupted one would have
seen. More than one GPU or machine: start it with torchrun.

    data/epochs -> batches -> step (losses/terms, SGD of `schedule`) -> watch, run_state
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from ..runtime.errors import ConfigError, InputError
from ..runtime.files import write_text
from .data.batches import Batch
from .data.dataset import CocoInstances
from .data.epochs import endless_batches
from .fitting import with_fitting_batch
from .networks.families import Network
from .ranks import Ranks, join, this_rank
from .recipes.fastmask import FastMaskRecipe
from .recipes.recipe import Recipe, dump_recipe
from .run_folder import BEST, LAST, RECIPE, RESULT, STATE, locked, require_no_run, require_run
from .run_log import OnLog
from .run_state import Run, new_run, restore, save_state, with_saved_batch
from .step import LossModule, one_step
from .watch.stopping import signals_kept
from .watch.validation import Validation
from .watch.watcher import Watcher
from .weights.checkpoint import save_checkpoint, start_from
from .weights.fine_tuning import require_trained

MOST_WORKERS = 256


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
    validation: Validation | None = None,
    on_log: OnLog | None = None,
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
        progress: whether to show a bar, or lines where there is no terminal.
        validation: measures the result, and every `solver.eval_every` steps what there is; without
            it there are no evaluations and no pages.
        on_log: a hook of your own, for wandb, MLflow and others.
        overrides: by which `recipe` differs from its file; kept for `run_state.resumed_recipe`.

    Returns:
        Path of the checkpoint (of the average when `solver.ema_decay` is set).

    Raises:
        ConfigError: processes that cannot share a batch, no GPU that could decide its size,
            `weights` of which nothing fits, or layers that are not trained and would stay random.
        InputError: the data has other classes, or `out` already holds a run and `resume` is not
            set.
        TrainError: the losses are no longer finite, another process trains in `out`, or the run
            to resume is of another recipe, other annotations or another number of processes.
    """
    ranks, said = this_rank(), list[str]()
    if not resume and recipe.solver.batch == "auto":
        recipe, said = with_fitting_batch(recipe, dataset, ranks)
        overrides = [*overrides, f"solver.batch={recipe.solver.batch}"]
    elif recipe.solver.batch == "auto":
        recipe = with_saved_batch(recipe, out / STATE)
    join(ranks)
    _check_processes(recipe, workers, ranks.count)
    if not isinstance(recipe, FastMaskRecipe):  # whose proposals have no class
        dataset = dataset.labelled(recipe.class_names, f"recipe {recipe.name}")
    with locked(out) if ranks.is_first else contextlib.nullcontext():
        require_run(out) if resume else require_no_run(out)
        run = _begun(recipe, dataset, ranks, overrides)
        if resume:
            restore(run, out / STATE)
        else:
            taken = start_from(run.model, backbone, weights)
            require_trained(run.model, taken.kept if taken else (), weights or backbone)
            said += taken.lines if taken else []
            if ranks.is_first:
                write_text(out / RECIPE, dump_recipe(recipe))
        if not ranks.is_first:
            _steps(run, _batches(run, dataset, workers, ranks), out, ranks, validation, None)
            return out / RESULT
        with Watcher(
            recipe, out, run.step, validation=validation, progress=progress, on_log=on_log
        ) as watch:
            watch.begin(said, lambda: _batches(run, dataset, 0, ranks), dataset.class_names)
            _steps(run, _batches(run, dataset, workers, ranks), out, ranks, validation, watch)
            _leave_result(run, out, validation, watch)
    return out / RESULT


def _begun(recipe: Recipe, dataset: CocoInstances, ranks: Ranks, overrides: Sequence[str]) -> Run:
    run = new_run(recipe, ranks.device, overrides)
    run.annotations_sha256, run.ranks = dataset.sha256(), ranks.count
    if not isinstance(recipe, FastMaskRecipe):
        run.category_ids = dataset.category_ids
    return run


def _batches(run: Run, dataset: CocoInstances, workers: int, ranks: Ranks) -> Iterator[Batch]:
    return endless_batches(dataset, run.recipe, run.step, workers, ranks.shard)


def _check_processes(recipe: Recipe, workers: int, ranks: int) -> None:
    if not 0 <= workers <= MOST_WORKERS:
        raise InputError(
            f"--workers {workers}: expected 0 to {MOST_WORKERS} processes that decode pictures. "
            "Use as many as there are cores, or 0 to decode in the training process."
        )
    batch, parts = recipe.solver.pictures, recipe.solver.accumulate
    if batch % (ranks * parts):
        sharing = f"{ranks} processes to share it" + f" in {parts} parts each" * (parts > 1)
        raise ConfigError(
            f"solver.batch={batch}: found {sharing}; expected a multiple of {ranks * parts}. Set "
            f"solver.batch={max(batch // (ranks * parts), 1) * ranks * parts}."
        )


def _steps(
    run: Run,
    batches: Iterator[Batch],
    out: Path,
    ranks: Ranks,
    validation: Validation | None,
    watch: Watcher | None,
) -> None:
    """All steps that are left; `watch` is the first process's."""
    solver, whole = run.recipe.solver, True
    every = solver.eval_every if validation is not None else 0
    module: nn.Module = LossModule(run.model)
    if ranks.count > 1:
        module = nn.parallel.DistributedDataParallel(module)
    try:
        over = _is_over(run, out, ranks, every, watch)  # cut off while it evaluated, it has yet to
        while run.step < solver.steps and not over:
            if watch is not None:
                watch.step_begins()
            with signals_kept() if ranks.count == 1 else contextlib.nullcontext():
                batch = next(batches)
                whole = False
                losses = one_step(run, module, batch, solver, ranks.rank)
                if watch is not None:
                    watch.stepped(run.step, losses)
                whole = True
            if _saves(run, every):
                run.divergence.require_none()
                if watch is not None:
                    with signals_kept():
                        _save(run, out)
            over = _is_over(run, out, ranks, every, watch)
    except KeyboardInterrupt:
        if watch is not None and ranks.count == 1 and whole and run.step > run.saved:
            with signals_kept():
                _save(run, out)
        raise


def _saves(run: Run, every: int) -> bool:
    """Whether the state of now is to be kept."""
    solver = run.recipe.solver
    turns = (solver.checkpoint_every, *([every] if every else []))
    return run.step == solver.steps or any(run.step % turn == 0 for turn in turns)


def _is_over(run: Run, out: Path, ranks: Ranks, every: int, watch: Watcher | None) -> bool:
    """Whether patience has an end, after the evaluation that may be due, the last one apart."""
    if not every or run.step % every or not 0 < run.step < run.recipe.solver.steps:
        return False
    if watch is not None and not watch.has_evaluated(run.step):
        _evaluate(run, out, LAST, watch)
    return ranks.agreed(watch is not None and watch.exhausted)


def _save(run: Run, out: Path) -> None:
    """What the run goes on from, and its weights as a checkpoint."""
    save_state(run, out / STATE)
    _save_weights(run, out / LAST)


def _save_weights(run: Run, path: Path, measured: dict[str, float] | None = None) -> None:
    average = run.average
    model = run.model if average is None else cast("Network", average.module)
    save_checkpoint(path, model, steps=run.step, measured=measured, category_ids=run.category_ids)


def _evaluate(run: Run, out: Path, name: str, watch: Watcher) -> None:
    """Measure the weights of now as the checkpoint `name`, and keep the best."""
    _save_weights(run, out / name)
    if watch.evaluate(out / name, run.step):
        _save_weights(run, out / BEST, watch.measured)


def _leave_result(run: Run, out: Path, validation: Validation | None, watch: Watcher) -> None:
    """The checkpoint of the end, its accuracy in its header, in the place of the last state's."""
    if validation is None:
        _save_weights(run, out / RESULT)
    else:
        if watch.evaluated_at != run.step:
            _evaluate(run, out, RESULT, watch)
        _save_weights(run, out / RESULT, watch.measured)
        watch.finish(run.step)
    for path in (out / LAST, (out / LAST).with_suffix(".yaml")):
        path.unlink(missing_ok=True)
