"""`solver.batch=auto`: the most pictures that a GPU trains on at once, found by trying.

Steps of the run's own network, optimizer and losses are taken on batches of the worst case: the
largest canvas that the data can have, with as many objects as any picture has and at least so many
that the losses sample all they may. A tenth of the memory stays free. Nothing else is scaled; what
was found and what the learning rate is are said.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

import torch

from ..runtime.errors import ConfigError
from .data.batches import Batch
from .data.dataset import CocoInstances
from .data.epochs import largest_canvas_hw
from .ranks import Ranks, join
from .recipes.recipe import Recipe, with_solver
from .run_state import new_run
from .step import LossModule, one_step

USED = 0.9
"""Share of the memory that trials may take; real canvases come in an order that leaves gaps."""
OBJECTS = 32
STEPS = 2
"""Of a trial: momentum is there from the second on."""


def with_fitting_batch(
    recipe: Recipe, dataset: CocoInstances, ranks: Ranks
) -> tuple[Recipe, list[str]]:
    """The recipe with the largest batch that fits, no larger than the data, and a line about it.

    Each process tries by itself, before it joins the others, who would wait for one that ran out
    of memory.

    Raises:
        ConfigError: no GPU, or one picture does not fit.
    """
    sharing = ranks.count * recipe.solver.accumulate
    found = most_fitting(recipe, dataset, ranks.device, max(len(dataset) // sharing, 1))
    join(ranks)
    at_once = ranks.least(found)
    said = (
        f"solver.batch=auto: {at_once * sharing} pictures a step, {at_once} at once; solver.lr="
        f"{recipe.solver.lr:g} and solver.steps={recipe.solver.steps} are not scaled with it"
    )
    return with_solver(recipe, batch=at_once * sharing), [said]


def most_fitting(recipe: Recipe, dataset: CocoInstances, device: torch.device, most: int) -> int:
    """Pictures that fit at once, at most `most`.

    Raises:
        ConfigError: no GPU, or one picture does not fit.
    """
    if device.type != "cuda":
        raise ConfigError(
            "solver.batch=auto: found no GPU; expected one, whose memory decides. State a number."
        )
    canvas_hw = largest_canvas_hw(dataset, recipe)
    objects = max(dataset.most_objects * (2 if recipe.input.copy_paste else 1), OBJECTS)
    with torch.cuda.device(device), _leaving_room(device):
        found = largest(lambda size: trial(recipe, size, canvas_hw, objects, device), most)
    if not found:
        height, width = canvas_hw
        raise ConfigError(
            f"solver.batch=auto: one picture of {width}x{height} px does not fit into {device}; "
            "expected a GPU with more memory. Lower input.train_short_sides_px or the network's "
            "channels."
        )
    return found


@contextlib.contextmanager
def _leaving_room(device: torch.device) -> Iterator[None]:
    torch.cuda.set_per_process_memory_fraction(USED, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def largest(step: Callable[[int], None], most: int) -> int:
    """The largest size up to `most` whose `step` does not run out of memory; 0 where none is.

    Sizes are doubled until one does not fit, then the space between is halved.
    """
    fitting, failing, size = 0, most + 1, 1
    while failing - fitting > 1:
        if _fits(step, size):
            fitting = size
        else:
            failing = size
        size = min(2 * fitting, most) if failing > most else (fitting + failing) // 2
    return fitting


def _fits(step: Callable[[int], None], size: int) -> bool:
    try:
        step(size)
    except torch.OutOfMemoryError:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return True


def trial(
    recipe: Recipe, size: int, canvas_hw: tuple[int, int], objects: int, device: torch.device
) -> None:
    """Steps of a run that nobody keeps, on `size` pictures at once, in parts if the recipe's are.

    Raises:
        torch.OutOfMemoryError: they do not fit.
    """
    parts = min(recipe.solver.accumulate, 2)  # from the second on gradients are there already
    tried = with_solver(recipe, accumulate=parts, compile=False)
    run = new_run(tried, device)
    batch = worst_batch(size * parts, canvas_hw, objects)
    module = LossModule(run.model)
    for _ in range(STEPS):
        one_step(run, module, batch, tried.solver, 0)


def worst_batch(size: int, canvas_hw: tuple[int, int], objects: int) -> Batch:
    """`size` pictures of noise that fill the canvas, each with so many boxes of all sizes."""
    height, width = canvas_hw
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(objects, 4, generator=generator)
    sides = 16 + at[:, 2:] * (torch.tensor([width, height]) / 2 - 16).clamp(min=0)
    start = at[:, :2] * (torch.tensor([width, height]) - sides).clamp(min=0)
    boxes = torch.cat((start, start + sides), dim=1)
    masks = torch.ones(objects, height, width, dtype=torch.uint8)
    noise = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return Batch(
        images=noise.expand(size, -1, -1, -1).contiguous(),
        image_sizes=torch.tensor([canvas_hw] * size, dtype=torch.int32),
        boxes=[boxes] * size,
        labels=[torch.zeros(objects, dtype=torch.int64)] * size,
        masks=[masks] * size,
        crowd_boxes=[torch.zeros(0, 4)] * size,
        image_ids=list(range(size)),
    )
