"""Where one training step's time goes, for `step_time`: a process that answers by the turn.

    python step_parts.py RECIPE DATA WORKERS

It runs the package that PYTHONPATH names first, this one or an older, so it asks for nothing that
both do not have. A line "turn N" on standard input takes N steps, and a line of JSON says what they
took, in milliseconds: `total`, and of it each part by itself, without the parts inside it. "held N"
trains on one batch again and again, "load N" draws N batches and trains on none.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

PARTS: dict[str, tuple[str, ...]] = {
    "loader": (),
    "body": (
        "networks.layers:Normalize.forward",
        "networks.mask_rcnn:MaskRCNN.features",
        "networks.fastmask:FastMask.levels",
    ),
    "RPN": ("networks.heads:RPN.forward",),
    "selection": (
        "losses.mask_rcnn:match_anchors",
        "losses.mask_rcnn:_sample",
        "losses.mask_rcnn:_proposals",
        "losses.mask_rcnn:sample_rois",
        "losses.fastmask:sample_windows",
    ),
    "heads": (
        "networks.mask_rcnn:MaskRCNN.pool",
        "networks.heads:LightSubnet.forward",
        "networks.heads:BoxPredictor.forward",
        "networks.heads:MaskHead.forward",
        "losses.fastmask:_from_pyramid",
        "losses.fastmask:cut_windows",
        "networks.window_head:WindowNorm.of_maps",
        "networks.window_head:WindowHead.scores",
        "networks.window_head:WindowHead.masks",
    ),
    "losses": (
        "losses.mask_rcnn:rpn_losses",
        "losses.mask_rcnn:box_losses",
        "losses.mask_rcnn:mask_targets",
        "losses.mask_rcnn:roi_losses",
        "losses.fastmask:cut_masks",
        "losses.fastmask:_terms",
    ),
    "backward": (),
    "optimizer": (),
}
"""What is timed, by part; RoI heads or window heads. What is left over is `rest`."""


class Clock:
    """Milliseconds by part; a part inside another is not counted twice."""

    def __init__(self) -> None:
        self.ms: defaultdict[str, float] = defaultdict(float)
        self._open = ["rest"]
        self._since = time.perf_counter()

    def _book(self) -> None:
        now = time.perf_counter()
        self.ms[self._open[-1]] += 1000 * (now - self._since)
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What the block takes is this part's."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time booked."""

        @functools.wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        return wrapped

    def taken(self) -> dict[str, float]:
        """Everything since the last call."""
        self._book()
        ms, self.ms = self.ms, defaultdict(float)
        return {"total": sum(ms.values()), **ms}


def watch(clock: Clock) -> None:
    """Time the parts of every step from now on."""
    for part, places in PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(f"maskrt.train.{module}")
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, name, clock.timed(part, getattr(owner, name)))
    backward, step, clip = torch.Tensor.backward, torch.optim.SGD.step, torch.nn.utils
    torch.Tensor.backward = clock.timed("backward", backward)  # type: ignore[method-assign]
    torch.optim.SGD.step = clock.timed("optimizer", step)  # type: ignore[method-assign]
    clip.clip_grad_norm_ = clock.timed("optimizer", clip.clip_grad_norm_)


def main(name: str, data: Path, workers: int) -> None:
    """Answer until standard input ends."""
    from maskrt.train import loop
    from maskrt.train.data.dataset import CocoInstances
    from maskrt.train.data.epochs import endless_batches
    from maskrt.train.recipes.recipe import load_recipe
    from maskrt.train.run_state import new_run

    steps: Any = (
        loop if hasattr(loop, "_one_step") else importlib.import_module("maskrt.train.step")
    )
    one_step: Any = getattr(steps, "_one_step", None) or steps.one_step
    torch.set_num_threads(1)
    recipe, clock = load_recipe(name), Clock()
    run = new_run(recipe, torch.device("cpu"))
    module = steps.LossModule(run.model)
    dataset = CocoInstances(data, "train")
    batches = endless_batches(dataset, recipe, 0, workers, (0, 1))
    held = next(batches)
    watch(clock)
    for line in sys.stdin:
        word, count = line.split()
        clock.taken()
        for _ in range(int(count)):
            with clock.part("loader"):
                batch = held if word == "held" else next(batches)
            if word != "load":
                one_step(run, module, batch, recipe.solver, 0)
        print(json.dumps(clock.taken()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
