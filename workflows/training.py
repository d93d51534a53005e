"""From a recipe or from other people's weights to a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import InputError
from .data import load_data
from .shipped import named_file

if TYPE_CHECKING:
    from ..eval import Accuracy, CocoData, DataSource
    from ..eval.datasets.source import Split
    from ..train.data.dataset import CocoInstances
    from ..train.recipes.recipe import Recipe
    from ..train.run_log import OnLog


@dataclass(frozen=True)
class Trained:
    """What a training run left."""

    checkpoint: Path
    accuracy: Accuracy | None
    """On the val split; None in all processes but the first of a distributed run."""


@dataclass(frozen=True)
class Begun:
    """An untrained checkpoint that was written."""

    recipe: Recipe
    """Resolved."""
    taken: tuple[str, ...]
    """What was taken from other weights, a few lines; empty without any."""


def new_checkpoint(
    recipe: str | Path,
    out: Path,
    overrides: Sequence[str] = (),
    *,
    backbone: Path | None = None,
    weights: Path | None = None,
    overwrite: bool = False,
) -> Begun:
    """Write a checkpoint that was not trained.

    Args:
        recipe: a shipped recipe's name, or a YAML file.
        out: `.safetensors` to write; its `.yaml` goes beside it.
        overrides: `key=value` each, e.g. "solver.lr=0.01".
        backbone: checkpoint whose body is taken, a file or a shipped one's name.
        weights: checkpoint of which all that fits is taken, likewise; one of the two at most.
        overwrite: replace the files where they are there.

    Raises:
        ConfigError: the recipe or an override is not valid.
        InputError: a file is missing, of another network, there already or cannot be written.
    """
    from ..train.recipes.recipe import load_recipe
    from ..train.weights.checkpoint import new_checkpoint as write_untrained
    from ..train.weights.checkpoint import require_new, require_suffix

    require_suffix(out)
    resolved = load_recipe(recipe, overrides)
    require_new(out, overwrite=overwrite)
    taken = write_untrained(
        resolved,
        out,
        None if backbone is None else named_file(backbone),
        None if weights is None else named_file(weights),
    )
    return Begun(resolved, tuple(taken.lines) if taken else ())


def train_recipe(
    recipe: str | Path,
    data: str | Path | DataSource,
    out: Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Path | None = None,
    weights: Path | None = None,
    on_step: Callable[[str], None] | None = None,
    on_log: OnLog | None = None,
) -> Trained:
    """Train a recipe and measure the result on the data set's val split.

    Under torchrun every rank calls this; the first one measures and writes.

    Args:
        recipe: a shipped recipe's name, or a YAML file.
        data: labelled pictures; where they have no val split, a share of them is it. Classes that
            neither the recipe nor an override spells out are the data's, in order of id.
        out: folder of the run.
        overrides: `key=value` each.
        resume: continue the run that is in `out`, with the recipe that it was started with: its
            overrides need not be given again, and only solver.steps, solver.eval_every and
            solver.patience may be others.
        workers: processes that decode pictures; 0 decodes in this one.
        backbone: checkpoint whose body is taken, a file or a shipped one's name.
        weights: checkpoint, trained or imported, of which all that fits is taken; likewise, and one
            of the two at most.
        on_step: told what was found.
        on_log: a hook for wandb, MLflow and others: called with a step and a dict of values by
            name, every 20 steps and after each evaluation (see `maskrt.train.run_log.OnLog`).

    Raises:
        ConfigError: the recipe or an override is not valid, `weights` or `backbone` do not fit, or
            layers that are not trained would stay random.
        InputError: the data set or a file is not usable.
        TrainError: the loss became infinite or NaN, the run to resume is of another recipe, or
            another process trains in `out`.
        KeyboardInterrupt: Ctrl-C; it says how to go on.
    """
    from ..eval.datasets.source import source_of
    from ..train.data.dataset import CocoInstances
    from ..train.loop import train
    from ..train.ranks import is_first_rank
    from ..train.recipes.recipe import load_recipe
    from ..train.run_folder import RESULT, STATE
    from ..train.run_state import resumed_recipe
    from ..train.schedule import never_reached
    from ..train.watch.validation import Validation

    state, source = out / STATE, source_of(data)
    if resume and state.exists():
        resolved = resumed_recipe(state, recipe, overrides)
        dataset = CocoInstances(source, "train")
    else:
        asked = load_recipe(recipe, overrides)  # whose faults are told before any data is read
        dataset = CocoInstances(source, "train")
        overrides = [*overrides, *_classes_of(dataset, asked, overrides)]
        resolved = load_recipe(recipe, overrides)
    validation = Validation(load_data(source))  # before the hours of training, not after them
    if resolved.family != "fastmask":  # whose proposals have no class
        _require_same_classes(source, dataset, validation.data)
    if on_step is not None and is_first_rank():
        counts: dict[Split, int] = {"train": len(dataset), "val": len(validation.data.images)}
        on_step(dataset.found.told(counts, len(dataset.class_names)))
        if slow := never_reached(resolved.solver):
            on_step(slow)
    try:
        path = train(
            resolved,
            dataset,
            out,
            resume=resume,
            workers=workers,
            backbone=None if backbone is None else named_file(backbone),
            weights=None if weights is None else named_file(weights),
            overrides=overrides,
            validation=validation,
            on_log=on_log,
        )
    except KeyboardInterrupt as err:
        if validation.measuring == out / RESULT:
            said = _how_to_measure(out / RESULT, source.words)
        else:
            said = _how_to_go_on(state)
        raise KeyboardInterrupt(said) from err
    return Trained(path, validation.accuracy)


def _require_same_classes(source: DataSource, train: CocoInstances, val: CocoData) -> None:
    """InputError where the two splits name different ones; an evaluation would end the run."""
    from ..eval.coco.data import name_difference

    if differ := name_difference(train.class_names, val.class_names, ("train", "val")):
        raise InputError(
            f"{source}: train and val have different categories: {differ}; expected one list for "
            "both. Add to each file those that it lacks."
        )


def _classes_of(
    dataset: CocoInstances, recipe: Recipe, overrides: Sequence[str]
) -> tuple[str, ...]:
    """The override by which a recipe that names no classes of its own gets the data's."""
    from ..train.recipes.fastmask import FastMaskRecipe

    if isinstance(recipe, FastMaskRecipe) or recipe.class_names == dataset.class_names:
        return ()
    if isinstance(recipe.classes, tuple) or any(o.startswith("classes=") for o in overrides):
        return ()
    return (f"classes={json.dumps(dataset.class_names, ensure_ascii=False)}",)


def _how_to_measure(path: Path, data: str) -> str:
    return (
        f"stopped while the result was measured; {path} is whole. Measure it with: maskrt eval "
        f"{path} {data}"
    )


def _how_to_go_on(state: Path) -> str:
    if state.exists():
        return f"stopped; {state} is whole. Go on from it with the same words and --resume."
    return f"stopped before a state was saved in {state.parent}. Start the run again."
