"""What changes while training: begun anew, written to `resume.safetensors`, read back from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..runtime.errors import TrainError
from .networks.families import Network, new_network
from .recipes.recipe import Recipe
from .schedule import sgd
from .weights.backbone import take_backbone
from .weights.tensors import check_tensors, load_tensors, save_tensors


@dataclass
class Run:
    """A network on its way, and everything that its next step depends on."""

    model: Network
    optimizer: torch.optim.SGD
    average: AveragedModel | None
    """Of the weights, when `solver.ema_decay` is set."""
    scaler: torch.amp.GradScaler
    step: int = 0
    """Steps done."""


def new_run(recipe: Recipe, device: torch.device, backbone: Path | None = None) -> Run:
    """A run at its start, seeded by the recipe; `backbone`: see `take_backbone`."""
    torch.manual_seed(recipe.solver.seed)
    model = new_network(recipe)
    if backbone is not None:
        take_backbone(model, backbone)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    solver = recipe.solver
    average = None
    if solver.ema_decay:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(solver.ema_decay), use_buffers=True
        )
    scaled = solver.precision == "fp16" and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    return Run(model, sgd(model, solver), average, scaler)


def save_state(run: Run, path: Path) -> None:
    """Weights, momentum, average and step, atomically."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    momentum = run.optimizer.state_dict()["state"]
    tensors |= {f"momentum.{k}": v["momentum_buffer"] for k, v in momentum.items()}
    if run.average is not None:
        tensors |= {f"average.{k}": v for k, v in run.average.state_dict().items()}
    metadata = {"recipe": run.model.recipe.name, "step": str(run.step)}
    if run.scaler.is_enabled():
        metadata["scale"] = str(run.scaler.get_scale())
    save_tensors(path, tensors, metadata)


def restore(run: Run, path: Path) -> None:
    """Put what `save_state` wrote into a new run of the same recipe.

    Raises:
        InputError: no such file, or not a whole one.
        TrainError: it is a run of another recipe or network.
    """
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
