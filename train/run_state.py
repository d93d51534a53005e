"""What changes while training: begun anew, written to `resume.safetensors`, read back from it.

    model.NAME      weights and statistics of the network
    momentum.NAME   of the parameter NAME, once it had a gradient
    average.NAME    the moving average, with `solver.ema_decay`
    header          the resolved recipe, the overrides it was made with, steps done, loss scaling,
                    SHA-256 of the annotations, processes that share a batch

No random state: batches, augmentation and sampling are drawn from (seed, epoch, picture) and (seed,
rank, step) alone. The learning rate follows from the step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..runtime.errors import TrainError
from .compiled import compile_body
from .loss_values import Divergence
from .networks.families import Network, new_network
from .recipes.recipe import (
    Recipe,
    differences,
    dump_recipe,
    load_recipe,
    parse_recipe,
    with_solver,
)
from .recipes.values import shown
from .schedule import sgd
from .seeds import torch_seed
from .weights.tensors import check_tensors, load_metadata, load_tensors, save_tensors

FORMAT = "3"
STEPS = "solver.steps"
MAY_CHANGE = (STEPS, "solver.eval_every", "solver.patience")
"""None of which decides a step's batch or weights, the schedule of the learning rate apart."""


@dataclass
class Run:
    """A network on its way, and everything that its next step depends on."""

    recipe: Recipe
    overrides: tuple[str, ...]
    """What was changed in the recipe's file, `key=value` each."""
    model: Network
    optimizer: torch.optim.SGD
    average: AveragedModel | None
    """Of the weights, when `solver.ema_decay` is set."""
    scaler: torch.amp.GradScaler
    divergence: Divergence
    annotations_sha256: str = ""
    """Of the annotation file that it trains on."""
    category_ids: tuple[int, ...] = ()
    """Of each label in the data set; empty of proposals, which have no class."""
    ranks: int = 1
    """Processes that share a batch; each draws its own random numbers."""
    step: int = 0
    """Steps done."""
    saved: int = 0
    """Of these, those in the last saved state."""


def new_run(recipe: Recipe, device: torch.device, overrides: Sequence[str] = ()) -> Run:
    """A run at its start, seeded by the recipe."""
    solver = recipe.solver
    torch.manual_seed(torch_seed(solver.seed))
    model = new_network(recipe)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = None
    if solver.ema_decay:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(solver.ema_decay), use_buffers=True
        )
    scaler = torch.amp.GradScaler(device.type, enabled=solver.precision == "fp16")
    if solver.compile:
        compile_body(model)
    divergence = Divergence(device, at_once=device.type == "cpu")
    optimizer = sgd(model, solver)
    return Run(recipe, tuple(overrides), model, optimizer, average, scaler, divergence)


def save_state(run: Run, path: Path) -> None:
    """Everything that the next step depends on, atomically; TrainError where a loss diverged."""
    run.divergence.require_none()
    metadata = {
        "format": FORMAT,
        "recipe": dump_recipe(run.recipe),
        "overrides": json.dumps(run.overrides),
        "step": str(run.step),
        "scaler": json.dumps(run.scaler.state_dict()),
        "annotations_sha256": run.annotations_sha256,
        "ranks": str(run.ranks),
    }
    save_tensors(path, _tensors(run), metadata)
    run.saved = run.step


def _tensors(run: Run) -> dict[str, Tensor]:
    state = run.optimizer.state
    momentum = {
        name: state[parameter]["momentum_buffer"]
        for name, parameter in run.model.named_parameters()
        if "momentum_buffer" in state.get(parameter, {})
    }
    average = {} if run.average is None else run.average.state_dict()
    parts = (("model", run.model.state_dict()), ("momentum", momentum), ("average", average))
    return {f"{part}.{name}": value for part, named in parts for name, value in named.items()}


def resumed_recipe(path: Path, name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a saved run, its steps changed where an override says so.

    Args:
        path: what `save_state` wrote.
        name_or_path: of the recipe that the run was started with.
        overrides: on top of those the run was started with, which need not be said again.

    Raises:
        InputError: no such file, or not a whole one.
        ConfigError: the recipe or an override is not valid.
        TrainError: no state of this version, or the recipe differs from the run's in more than
            `MAY_CHANGE`.
    """
    header = load_metadata(path)
    _check_format(path, header)
    asked = load_recipe(name_or_path, [*_overrides(path, header), *overrides])
    asked = with_saved_batch(asked, path) if asked.solver.batch == "auto" else asked
    _check_agreement(path, header, asked)
    return asked


def with_saved_batch(recipe: Recipe, path: Path) -> Recipe:
    """The recipe, with the saved run's batch; errors are `resumed_recipe`'s."""
    header = load_metadata(path)
    _check_format(path, header)
    saved = parse_recipe(header.get("recipe", ""), f"{path} (header)").solver.batch
    return with_solver(recipe, batch=saved)


def restore(run: Run, path: Path) -> None:
    """Put what `save_state` wrote into a new run of the same recipe.

    Raises:
        InputError: no such file, or not a whole one, or values that are not finite.
        TrainError: it is a run of another recipe or network, of other annotations, of another
            number of processes, or of another version of maskrt.
    """
    tensors, header = load_tensors(path)
    _check_format(path, header)
    changed = _check_agreement(path, header, run.recipe)
    _check_surroundings(path, header, run)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "momentum": {}, "average": {}}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise _broken(path, f"a tensor '{key[:60]}'", f"names that begin with {[*parts]}")
        parts[part][name] = value
    run.step = run.saved = _step(path, header, run.recipe.solver.steps)
    run.overrides = _overrides(path, header)
    run.overrides += changed
    _restore_weights(run, path, parts["model"], parts["average"])
    _restore_momentum(run, path, parts["momentum"])
    _restore_scaler(run, path, header)


def _restore_weights(
    run: Run, path: Path, weights: dict[str, Tensor], average: dict[str, Tensor]
) -> None:
    check_tensors(path, weights, run.model.state_dict())
    run.model.load_state_dict(weights)
    check_tensors(path, average, {} if run.average is None else run.average.state_dict())
    if run.average is not None:
        run.average.load_state_dict(average)


def _restore_momentum(run: Run, path: Path, momentum: dict[str, Tensor]) -> None:
    trained = {k: p for k, p in run.model.named_parameters() if p.requires_grad}
    check_tensors(path, momentum, {k: p for k, p in trained.items() if k in momentum})
    if not momentum:  # saved before the first step
        return
    for name, parameter in trained.items():
        buffer = torch.zeros_like(parameter, requires_grad=False)
        if name in momentum:  # layers without a gradient so far had none in older states
            buffer.copy_(momentum[name])
        run.optimizer.state[parameter]["momentum_buffer"] = buffer


def _restore_scaler(run: Run, path: Path, header: dict[str, str]) -> None:
    state, expected = _json(path, header, "scaler"), run.scaler.state_dict()
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise _broken(path, f"scaler {shown(state)}", f"the keys {sorted(expected)}")
    if not all(_may_scale(k, v) for k, v in state.items()):
        raise _broken(path, f"scaler {shown(state)}", "positive numbers")
    if expected:
        run.scaler.load_state_dict(state)


def _may_scale(key: str, value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < 2**64 or (key == "_growth_tracker" and value == 0)


def _check_format(path: Path, header: dict[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise TrainError(
            f"{path}: a run's state of format {shown(header.get('format'))}; expected {FORMAT}, "
            "which maskrt 0.1 did not write. Start the run again in another --out."
        )


def _check_agreement(path: Path, header: dict[str, str], asked: Recipe) -> tuple[str, ...]:
    """That the recipe is the saved one but for what may change, which is returned as overrides."""
    saved = parse_recipe(header.get("recipe", ""), f"{path} (header)")
    changed = differences(saved, asked)
    for key, before, now in changed:
        if key not in MAY_CHANGE:
            raise TrainError(
                f"{path}: a run with {key}={shown(before)}; found {shown(now)}. Resume without "
                f"it (only {', '.join(MAY_CHANGE)} may change) or choose another --out."
            )
    return tuple(f"{key}={now or 0}" for key, _, now in changed)


def _check_surroundings(path: Path, header: dict[str, str], run: Run) -> None:
    """What decides the next batch beside the recipe."""
    if header.get("annotations_sha256") != run.annotations_sha256:
        raise TrainError(
            f"{path}: a run on annotations of SHA-256 {header.get('annotations_sha256', '')[:12]}; "
            f"found {run.annotations_sha256[:12]}. Resume with its own --data, or choose another "
            "--out."
        )
    if header.get("ranks") != str(run.ranks):
        raise TrainError(
            f"{path}: a run of {header.get('ranks', '')[:12]} processes; found {run.ranks}. Resume "
            "with as many, or choose another --out."
        )


def _step(path: Path, header: dict[str, str], steps: int) -> int:
    text = header.get("step", "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _broken(path, f"step {shown(text)}", "a number of steps")
    if int(text) > steps:
        raise TrainError(
            f"{path}: {int(text)} steps are done; expected {STEPS}={steps} to be more. "
            "Resume with as many or more."
        )
    return int(text)


def _overrides(path: Path, header: dict[str, str]) -> tuple[str, ...]:
    words = _json(path, header, "overrides")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _broken(path, f"overrides {shown(words)}", "a list of key=value")
    return tuple(words)


def _json(path: Path, header: dict[str, str], key: str) -> Any:
    try:
        return json.loads(header.get(key, ""))
    except (ValueError, RecursionError) as err:
        raise _broken(path, f"{key} {shown(header.get(key))}", "JSON") from err


def _broken(path: Path, found: str, expected: str) -> TrainError:
    return TrainError(
        f"{path}: found {found}; expected {expected} in a run's state. It is broken: start the run "
        "again in another --out."
    )
