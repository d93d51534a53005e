"""The batches of a run: epoch after epoch, augmented as the recipe says, from any step on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from ...runtime.contract import ResizeRule
from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import scaled_size_hw
from ..recipes.fastmask import FastMaskInput, FastMaskRecipe
from ..recipes.recipe import Recipe
from ..recipes.sections import NO_SCALE_JITTER
from .augment import Augmentation
from .batches import Batch, loader, steps_per_epoch
from .dataset import CocoInstances


def endless_batches(
    dataset: CocoInstances, recipe: Recipe, step: int, workers: int, shard: tuple[int, int]
) -> Iterator[Batch]:
    """Batches of one rank from `step` on.

    Args:
        dataset: the split to train on.
        recipe: its input and solver decide.
        step: steps already done.
        workers: decoding processes; 0 decodes in this one.
        shard: (rank, number of ranks).

    Raises:
        InputError: too few pictures for a batch of each rank; while iterating, a picture that
            cannot be read.
    """
    size = recipe.solver.pictures // shard[1]
    per_epoch = steps_per_epoch(dataset, size, shard[1])
    if not per_epoch:
        raise InputError(
            f"the train split: found {len(dataset)} pictures; expected {recipe.solver.pictures}, a "
            f"batch of {size} for each of {shard[1]} processes. Lower solver.batch or use fewer."
        )
    epoch, done = divmod(step, per_epoch)
    yield from loader(
        dataset,
        size,
        recipe.solver.seed,
        epoch,
        workers,
        augmentation=_augmentation(recipe),
        multiple_px=_multiple_px(recipe),
        first_step=done,
        shard=shard,
        epochs=None,
        pinned=torch.cuda.is_available(),
    )


def largest_canvas_hw(dataset: CocoInstances, recipe: Recipe) -> tuple[int, int]:
    """Height and width in px of the largest canvas that a batch of its pictures can have."""
    augmentation = _augmentation(recipe)
    rule = augmentation.resize
    rule = dataclasses.replace(
        rule,
        short_side_px=max(augmentation.short_sides_px, default=rule.short_side_px),
        long_side_px=max(augmentation.long_side_px or (rule.long_side_px,)),
    )
    canvas_hw = (rule.long_side_px,) * 2
    sizes = [scaled_size_hw(dataset.size_hw(n), rule, canvas_hw) for n in range(len(dataset))]
    multiple_px = _multiple_px(recipe)
    height, width = (
        -(-max(sides) // multiple_px) * multiple_px for sides in zip(*sizes, strict=True)
    )
    return height, width


def _multiple_px(recipe: Recipe) -> int:
    return recipe.input.multiple_px if isinstance(recipe, FastMaskRecipe) else 32


def _augmentation(recipe: Recipe) -> Augmentation:
    source = recipe.input
    return Augmentation(
        ResizeRule(source.short_side_px, source.long_side_px, source.multiple_px),
        source.train_short_sides_px,
        source.train_long_side_px if isinstance(source, FastMaskInput) else None,
        jitter=source.color_jitter,
        scale_jitter=None if source.scale_jitter == NO_SCALE_JITTER else source.scale_jitter,
        copy_paste=source.copy_paste,
    )
