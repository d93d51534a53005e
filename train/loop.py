"""The training loop: SGD, warm-up, schedule, mixed precision, logs, and an exact resume.

A run's folder holds `model.safetensors` and `model.yaml` (the result), `resume.safetensors`
(weights, momentum, average; atomically replaced), `log.csv` and TensorBoard events. Everything
random is decided by (seed, epoch, picture) in the loader and by (seed, step, rank) here, so a
resumed run sees the losses that the uninterrupted one would have seen. More than one GPU or
machine: start it with torchrun.

Source of the schedule and the decay groups: Detectron2 solver/build.py at 02b5c4e2.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..runtime.contract import ResizeRule
from ..runtime.errors import InputError, TrainError
from ..runtime.files import write_bytes
from .data.augment import Augmentation
from .data.batches import Batch, loader, steps_per_epoch
from .data.dataset import CocoInstances
from .data.target import Target
from .losses.terms import loss_terms
from .networks.families import Network, new_network
from .networks.layers import BatchNorm
from .recipes.fastmask import FastMaskInput, FastMaskRecipe
from .recipes.recipe import Recipe
from .recipes.sections import SolverConfig
from .weights.checkpoint import load_tensors, save_checkpoint, save_tensors, take_backbone

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LOG_EVERY = 20


@dataclass
class Run:
    """What changes while training."""

    model: Network
    optimizer: torch.optim.SGD
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    step: int = 0


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


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 1,
    backbone: Path | None = None,
    progress: bool = True,
) -> Path:
    """Train `recipe` on the `train` split of `data` and leave a checkpoint in `out`.

    Returns:
        Path of the checkpoint (of the average when `solver.ema_decay` is set).

    Raises:
        InputError: the data cannot be read, or `out` already holds a run and `resume` is not set.
        TrainError: the losses are no longer finite, or the run to resume is of another recipe.
    """
    rank, ranks, device = _process_group()
    dataset = CocoInstances(data, "train")
    _check_classes(dataset, recipe, data)
    run = _new_run(recipe, device, backbone)
    state = out / "resume.safetensors"
    if resume:
        _restore(run, state)
    elif state.exists():
        raise InputError(f"{out}: already holds a run; continue it with --resume or name another.")
    module: nn.Module = LossModule(run.model)
    if ranks > 1:
        module = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
    batches = _batches(dataset, recipe, run.step, workers, (rank, ranks))
    _steps(run, module, batches, recipe, out, rank, progress and rank == 0)
    final = cast("Network", run.average.module) if run.average is not None else run.model
    if rank == 0:
        save_checkpoint(out / "model.safetensors", final, steps=run.step)
    return out / "model.safetensors"


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
    from rich.progress import track

    solver = recipe.solver
    bar = track(
        range(run.step, solver.steps),
        recipe.name,
        console=Console(stderr=True),
        disable=not progress,
        update_period=0.5,
    )
    with contextlib.closing(Log(out, run.step)) as log:
        for _ in bar:
            terms = _one_step(run, module, next(batches), solver, rank)
            if rank != 0:
                continue
            log.write(run.step, learning_rate(solver, run.step - 1), terms)
            if run.step % solver.checkpoint_every == 0 or run.step == solver.steps:
                _save_state(run, out / "resume.safetensors")


def _one_step(
    run: Run, module: nn.Module, batch: Batch, solver: SolverConfig, rank: int
) -> dict[str, float]:
    device = run.model.normalize.mean.device
    generator = torch.Generator().manual_seed((solver.seed << 40) + (rank << 32) + run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(solver, run.step)
    half = solver.precision != "fp32"
    with torch.autocast(device.type, DTYPES[solver.precision], enabled=half):
        terms = module(
            batch.images.to(device),
            batch.image_sizes.to(device),
            _targets(batch, device),
            generator,
        )
    total = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(total):
        raise TrainError(
            f"step {run.step}: the loss is {total.item()}; training diverged. Resume from the last "
            "checkpoint with a lower solver.lr or solver.clip_norm=5."
        )
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(total).backward()
    run.scaler.unscale_(run.optimizer)
    if solver.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), solver.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update_parameters(run.model)
    run.step += 1
    return {name: float(value.detach()) for name, value in terms.items()}


def learning_rate(solver: SolverConfig, step: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then x0.1 at milestones or a cosine."""
    warm = 1.0
    if step < solver.warmup_steps:
        done = step / solver.warmup_steps
        warm = solver.warmup_factor * (1 - done) + done
    if solver.schedule == "cosine":
        return solver.lr * warm * 0.5 * (1 + math.cos(math.pi * step / solver.steps))
    return float(solver.lr * warm * 0.1 ** sum(step >= m for m in solver.milestones))


class Log:
    """`log.csv` and TensorBoard events, one row every `LOG_EVERY` steps, begun with the first row.

    The CSV row goes first: a disk that refuses it is reported here, where TensorBoard's own writer,
    a thread, would print its traceback.
    """

    def __init__(self, out: Path, first_step: int) -> None:
        self._out, self._first_step = out, first_step
        self._stream: TextIO | None = None
        self._board: Any = None

    def write(self, step: int, rate: float, terms: dict[str, float]) -> None:
        """Log one step when its turn has come; TrainError when the disk refuses."""
        if step % LOG_EVERY and step != 1:
            return
        with self._reported():
            stream = self._stream = self._stream or self._open()
            rows = csv.writer(stream)
            if stream.tell() == 0:
                rows.writerow(["step", "lr", *terms])
            rows.writerow([step, f"{rate:.6g}", *(f"{v:.9g}" for v in terms.values())])
            stream.flush()
            self._add_scalars(step, {"lr": rate, **terms, "total": sum(terms.values())})

    def _open(self) -> TextIO:
        path = self._out / "log.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _forget_rows_after(self._first_step, path)
        return path.open("a", newline="", encoding="utf-8")

    def _add_scalars(self, step: int, values: dict[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._board is None:
            self._board = SummaryWriter(str(self._out), purge_step=self._first_step)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both."""
        with self._reported(), contextlib.ExitStack() as stack:
            for part in (self._stream, self._board):
                if part is not None:
                    stack.callback(part.close)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise TrainError(
                f"{self._out / 'log.csv'}: could not be written ({err.strerror or err}); the last "
                "saved state is whole. Free some space, then use --resume or start again."
            ) from err


def _forget_rows_after(step: int, path: Path) -> None:
    """Drop what a run that was cut off had logged since its last checkpoint."""
    head, *rows = path.read_bytes().splitlines(keepends=True) or [b""]
    write_bytes(path, head + b"".join(row for row in rows if int(row.split(b",")[0]) <= step))


def _new_run(recipe: Recipe, device: torch.device, backbone: Path | None) -> Run:
    torch.manual_seed(recipe.solver.seed)
    model = new_network(recipe)
    if backbone is not None:
        take_backbone(model, backbone)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    solver = recipe.solver
    optimizer = torch.optim.SGD(
        _decay_groups(model, solver), lr=solver.lr, momentum=solver.momentum
    )
    average = None
    if solver.ema_decay:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(solver.ema_decay), use_buffers=True
        )
    scaled = solver.precision == "fp16" and device.type == "cuda"
    return Run(model, optimizer, average, torch.amp.GradScaler(device.type, enabled=scaled))


def _decay_groups(model: nn.Module, solver: SolverConfig) -> list[dict[str, Any]]:
    """Trained parameters, those of norms without weight decay."""
    norms = {
        id(p)
        for m in model.modules()
        if isinstance(m, BatchNorm)
        for p in m.parameters(recurse=False)
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {
            "params": [p for p in trained if id(p) not in norms],
            "weight_decay": solver.weight_decay,
        },
        {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0},
    ]


def _batches(
    dataset: CocoInstances, recipe: Recipe, step: int, workers: int, shard: tuple[int, int]
) -> Iterator[Batch]:
    """Endless batches from `step` on."""
    size = max(recipe.solver.batch // shard[1], 1)
    per_epoch = steps_per_epoch(dataset, size, shard[1])
    if not per_epoch:
        raise InputError(f"the train split holds {len(dataset)} pictures; expected at least one.")
    multiple_px = recipe.input.multiple_px if isinstance(recipe, FastMaskRecipe) else 32
    epoch, done = divmod(step, per_epoch)
    while True:
        yield from loader(
            dataset,
            size,
            recipe.solver.seed,
            epoch,
            workers,
            augmentation=_augmentation(recipe),
            multiple_px=multiple_px,
            first_step=done,
            shard=shard,
        )
        epoch, done = epoch + 1, 0


def _augmentation(recipe: Recipe) -> Augmentation:
    source = recipe.input
    return Augmentation(
        ResizeRule(source.short_side_px, source.long_side_px, source.multiple_px),
        source.train_short_sides_px,
        source.train_long_side_px if isinstance(source, FastMaskInput) else None,
        jitter=source.color_jitter,
    )


def _targets(batch: Batch, device: torch.device) -> list[Target]:
    return [
        Target(*(t.to(device) for t in picture))
        for picture in zip(batch.boxes, batch.labels, batch.masks, batch.crowd_boxes, strict=True)
    ]


def _save_state(run: Run, path: Path) -> None:
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    momentum = run.optimizer.state_dict()["state"]
    tensors |= {f"momentum.{k}": v["momentum_buffer"] for k, v in momentum.items()}
    if run.average is not None:
        tensors |= {f"average.{k}": v for k, v in run.average.state_dict().items()}
    metadata = {"recipe": run.model.recipe.name, "step": str(run.step)}
    if run.scaler.is_enabled():
        metadata["scale"] = str(run.scaler.get_scale())
    save_tensors(path, tensors, metadata)


def _restore(run: Run, path: Path) -> None:
    tensors, metadata = load_tensors(path)
    if metadata.get("recipe") != run.model.recipe.name:
        raise TrainError(
            f"{path}: a run of recipe '{metadata.get('recipe')}'; expected "
            f"'{run.model.recipe.name}'. Resume with the same recipe or choose another --out."
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "momentum": {}, "average": {}}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    try:
        run.model.load_state_dict(parts["model"])
        if run.average is not None:
            run.average.load_state_dict(parts["average"])
    except RuntimeError as err:
        raise TrainError(
            f"{path}: weights of another network ({str(err).splitlines()[1].strip()}). Resume with "
            "overrides that the run was started with or choose another --out."
        ) from err
    state = run.optimizer.state_dict()
    state["state"] = {int(k): {"momentum_buffer": v} for k, v in parts["momentum"].items()}
    run.optimizer.load_state_dict(state)
    if "scale" in metadata:
        run.scaler.update(float(metadata["scale"]))
    run.step = int(metadata["step"])


def _check_classes(dataset: CocoInstances, recipe: Recipe, data: Path) -> None:
    if isinstance(recipe, FastMaskRecipe):
        return  # proposals have no class: every category is an object
    if dataset.class_names != recipe.class_names:
        raise InputError(
            f"{data}: its {len(dataset.class_names)} categories "
            f"are {list(dataset.class_names)[:5]}...; "
            f"recipe {recipe.name} expects {list(recipe.class_names)[:5]}.... Set classes=[...]."
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
