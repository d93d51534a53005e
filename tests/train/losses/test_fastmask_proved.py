"""FastMask's losses and gradients against `numpy_fastmask`, every window of three pictures sampled.

Objects that overlap, one of them at the edge; one with a crowd; none. Which window a row is, its
content tells: the windows are cut and normed in numpy too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from maskrt.train.losses.fastmask import fastmask_losses
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.fastmask import FastMaskRecipe

from .numpy_fastmask import (
    Seen,
    box_seen,
    boxes_of_windows,
    cut_windows,
    mask_seen,
    mask_term,
    mean_term,
    normed,
    seen,
)
from .numpy_mask_rcnn import Array, Term, Whole
from .three_pictures import agrees, in_float64, in_numpy, target_of

CANVAS = (160, 192)
SIZES = [(160, 192), (140, 192), (160, 150)]
STRIDES = [16, 32]
LEVELS = [(10, 12), (5, 6)]
TRUTHS = [
    target_of(
        CANVAS,
        [[20.3, 12.2, 121.7, 101.4], [60.6, 51.1, 171.3, 148.8], [0.0, 60.4, 93.7, 157.3]],
        [0, 0, 0],
    ),
    target_of(CANVAS, [[35.2, 30.7, 160.4, 125.8]], [0], [[3.1, 2.4, 73.3, 92.2]]),
    target_of(CANVAS, [], []),
]
ALL = (
    "input.canvas_hw=[160, 192]",
    "windows.objectness_batch=2000",
    "windows.mask_batch=2000",
    "solver.window_momentum=0.5",
)


@dataclass
class Said:
    """What the layers were given and said."""

    maps: list[Tensor] = field(default_factory=list)
    """(B, C, h, w) of each level."""
    rows: dict[str, Array] = field(default_factory=dict)
    """(M, 10 * 10 * C) windows that were scored, (P, ...) that were attended to."""
    logits: dict[str, Tensor] = field(default_factory=dict)


def listened(model: FastMask) -> Said:
    said, head = Said(), model.head
    assert head.attention is not None

    def on(name: str) -> Callable[..., None]:
        def note(_module: object, given: tuple[Tensor], out: Tensor) -> None:
            said.rows[name] = in_float64([given[0]])
            said.logits[name] = out

        return note

    model.reduce.register_forward_hook(lambda _m, _i, out: said.maps.append(out))
    head.score_1.register_forward_hook(on("scored"))
    head.objectness.register_forward_hook(on("objectness"))
    head.attention.register_forward_hook(on("attention"))
    head.mask_2.register_forward_hook(on("mask"))
    return said


def network(recipe: FastMaskRecipe) -> FastMask:
    """Random, and its outputs of the size of a trained one's."""
    torch.manual_seed(3)
    model = FastMask(recipe).train()
    assert model.head.attention is not None
    with torch.no_grad():
        for layer, std in (
            (model.head.objectness, 0.5),
            (model.head.attention, 0.05),
            (model.head.mask_2, 0.02),
        ):
            layer.weight.normal_(std=std)
    return model


def numbers(rows: Array, windows: Array) -> Whole:
    """Which of the normed windows (W, 10, 10, C) each row (M, 100 C) is; none may be two."""
    flat = windows.reshape(len(windows), -1)
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(flat).sum(axis=1)
    away = np.sqrt(np.maximum(squares - 2 * rows @ flat.T, 0))
    which = away.argmin(axis=1)
    nearest = np.partition(away, 1, axis=1)
    assert nearest[:, 0].max() < 1e-3
    assert nearest[:, 1].min() > 0.1
    return which


@pytest.mark.parametrize("compat", ["paper", "original"])
def test_losses_and_gradients_are_those_of_the_definitions(
    proposer: Callable[..., FastMaskRecipe], compat: str
) -> None:
    recipe = proposer("fastmask_tiny", *ALL, f"model.compat={compat}", "windows.hard_share=0.0")
    model = network(recipe)
    said = listened(model)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, *CANVAS, 3), dtype=torch.uint8, generator=generator)
    terms = fastmask_losses(model, images, torch.tensor(SIZES), TRUTHS, generator)
    boxes = boxes_of_windows(LEVELS, STRIDES)
    scales = (0.4, 0.8) if compat == "paper" else (0.42, 0.68)
    truths = [in_numpy(target) for target in TRUTHS]
    every = [seen(boxes, t, size, scales) for t, size in zip(truths, SIZES, strict=True)]
    maps = [[in_float64([level])[place] for level in said.maps] for place in range(3)]
    windows = normed(np.concatenate([cut_windows(one) for one in maps]))
    check_scores(terms, said, windows, every, only_hard=compat == "original")
    check_masks(terms, said, windows, every, boxes)


def check_scores(
    terms: dict[str, Tensor], said: Said, windows: Array, every: list[Seen], only_hard: bool
) -> None:
    objects = np.concatenate([s.objects for s in every])
    trained = np.concatenate([s.trained for s in every])
    if only_hard:
        trained &= (objects >= 0) | np.concatenate([s.hard for s in every])
    which = numbers(said.rows["scored"], windows)
    assert sorted(which) == np.flatnonzero(trained).tolist()
    wanted = (objects[which] >= 0).astype(float)[:, None]
    assert 0 < wanted.sum() < len(wanted)
    logits = said.logits["objectness"]
    agrees(terms["objectness"], [logits], mean_term(in_float64([logits]), wanted))


def check_masks(
    terms: dict[str, Tensor], said: Said, windows: Array, every: list[Seen], boxes: Array
) -> None:
    """Attention alone by its own loss: that of masks reaches it too."""
    which = numbers(said.rows["attention"], windows)
    pictures, places = np.divmod(which, len(boxes))
    positive = np.concatenate([(s.objects >= 0) & s.trained for s in every])
    assert sorted(which) == np.flatnonzero(positive).tolist()
    truths = [in_numpy(target) for target in TRUTHS]
    rows = [
        (truths[i], every[i].objects[w], boxes[w]) for i, w in zip(pictures, places, strict=True)
    ]
    attention, masks = said.logits["attention"], said.logits["mask"]
    wanted = np.stack([box_seen(t.boxes[g], window).ravel() for t, g, window in rows])
    agrees(terms["attention"], [attention], mean_term(in_float64([attention]), wanted))
    side = round(masks.shape[1] ** 0.5)
    shown = np.stack([mask_seen(t.masks[g], window, 4 * side) for t, g, window in rows])
    term = mask_term(in_float64([masks]).reshape(-1, side, side), shown)
    agrees(terms["mask"], [masks], Term(term.value, term.gradient.reshape(len(shown), -1)))
