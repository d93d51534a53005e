"""Checkpoints: `NAME.safetensors` with the resolved recipe `NAME.yaml` beside it.

The safetensors header carries `maskrt` metadata: the recipe's name, training steps and, when it
was measured, the accuracy. Norm statistics are stored, optimizer state is not (that is
`resume.safetensors` in a run's folder). Pickles are never read here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...runtime.errors import ConfigError, InputError
from ...runtime.files import atomic_path, require_file, sha256_of, write_text
from ..networks.families import Network, new_network
from ..networks.mask_rcnn import MaskRCNN
from ..recipes.recipe import Recipe, dump_recipe, load_recipe


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights and where they came from."""

    recipe: Recipe
    model: Network
    sha256: str
    """Of the safetensors file."""
    steps: int
    """Training steps behind the weights; 0 for an untrained network."""
    measured: dict[str, float]
    """Accuracy written at the end of training, e.g. {"box_ap": 51.2}; empty when never measured."""


def save_checkpoint(
    path: Path, model: Network, *, steps: int = 0, measured: dict[str, float] | None = None
) -> None:
    """Write weights and recipe, each atomically.

    The recipe is put in place between the writing and the renaming of the weights: they never stand
    alone, and a disk that is full leaves an older pair as it was.
    """
    require_suffix(path)
    metadata = {
        "maskrt.recipe": model.recipe.name,
        "maskrt.steps": str(steps),
        "maskrt.measured": json.dumps(measured or {}),
    }
    with atomic_path(path) as temporary:
        _write_tensors(temporary, model.state_dict(), metadata)
        write_text(path.with_suffix(".yaml"), dump_recipe(model.recipe))


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, atomically; InputError when the disk refuses."""
    with atomic_path(path) as temporary:
        _write_tensors(temporary, tensors, metadata)


def _write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        save_file(plain, path, metadata)
    except SafetensorError as err:
        raise OSError(str(err)) from err


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read every tensor and the metadata; InputError when it is no whole safetensors file."""
    require_file(path, "a checkpoint", (".safetensors",))
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
            return tensors, stream.metadata() or {}
    except (SafetensorError, OSError) as err:
        raise InputError(
            f"{path}: not a readable safetensors file ({err}); expected a maskrt checkpoint. "
            "Copy or train it again."
        ) from err


def load_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint.

    Raises:
        InputError: missing or broken files, weights of another network, NaN or infinite weights.
        ConfigError: the recipe beside it is not valid.
    """
    tensors, metadata = load_tensors(path)
    recipe_path = path.with_suffix(".yaml")
    if not recipe_path.is_file():
        raise InputError(
            f"{recipe_path}: no such file; expected the resolved recipe beside the checkpoint. "
            "Copy it from where the checkpoint was made."
        )
    model = new_network(load_recipe(recipe_path))
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return Checkpoint(
        recipe=model.recipe,
        model=model.eval(),
        sha256=sha256_of(path),
        steps=int(metadata.get("maskrt.steps", "0")),
        measured=json.loads(metadata.get("maskrt.measured", "{}")),
    )


def require_suffix(path: Path) -> None:
    """InputError unless `path` ends in .safetensors."""
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path}: checkpoints are .safetensors files; found suffix '{path.suffix}'. Rename it."
        )


def _check_tensors(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Names, shapes and finite values, before anything is loaded."""
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        names = ", ".join(sorted(missing or extra)[:3])
        raise InputError(
            f"{path}: {len(missing)} tensors missing and {len(extra)} unknown (e.g. {names}); "
            f"expected the network of {path.with_suffix('.yaml').name}. They do not belong "
            "together: copy both again."
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{path}: '{name}' is {tuple(tensor.shape)}; the recipe beside it says "
                f"{tuple(expected[name].shape)}. They do not belong together: copy both again."
            )
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{path}: '{name}' holds NaN or infinite values; expected finite weights. Training "
                "diverged: take an earlier checkpoint or train with a lower solver.lr."
            )


def record_accuracy(path: Path, measured: dict[str, float]) -> None:
    """Write measured accuracy into a checkpoint's header (its bytes, so its SHA-256, change)."""
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, metadata | {"maskrt.measured": json.dumps(measured)})


def new_checkpoint(recipe: Recipe, path: Path, backbone: Path | None = None) -> None:
    """Write an untrained network, seeded by the recipe; `backbone`: see `take_backbone`."""
    torch.manual_seed(recipe.solver.seed)
    model = new_network(recipe)
    if backbone is not None:
        take_backbone(model, backbone)
    save_checkpoint(path, model)


def take_backbone(model: Network, path: Path) -> None:
    """Copy the backbone (Mask R-CNN) or body (FastMask) of another checkpoint into `model`.

    FastMask's ResNet body has the layers of Mask R-CNN's backbone, so either takes the other's.
    """
    tensors, _ = load_tensors(path)
    own = "backbone." if isinstance(model, MaskRCNN) else "body."
    wanted = {k: v.shape for k, v in model.state_dict().items() if k.startswith(own)}
    given = {
        own + name: value
        for prefix, _, name, value in ((*key.partition("."), v) for key, v in tensors.items())
        if prefix in ("backbone", "body")
    }
    second = {k.replace("res4.", "res4_second."): v for k, v in given.items() if ".res4." in k}
    given = {k: v for k, v in (second | given).items() if k in wanted or "second" not in k}
    if wanted != {k: v.shape for k, v in given.items()}:
        raise ConfigError(
            f"{path}: its backbone is not the one of recipe {model.recipe.name}; expected the same "
            "stem_channels, widths and blocks. Choose another file or recipe."
        )
    model.load_state_dict(given, strict=False)
