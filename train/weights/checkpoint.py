"""Checkpoints: `NAME.safetensors` with the resolved recipe `NAME.yaml` beside it.

The safetensors header carries `maskrt` metadata: the recipe's text, by which a YAML file of other
weights is known, training steps, what imported weights were taken from and, when it was measured,
the accuracy. Norm statistics are stored, optimizer state is not (that is `resume.safetensors` in a
run's folder). Pickles are never read here.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ...runtime.errors import ConfigError, InputError
from ...runtime.files import atomic_path, sha256_of, write_text
from ...runtime.json_values import decoded, parse_json
from ..networks.families import Network, new_network
from ..recipes.recipe import Recipe, differences, dump_recipe, load_recipe, parse_recipe
from ..recipes.values import shown
from ..seeds import torch_seed
from .fine_tuning import Taken, take_weights
from .imported import Imported, imported_in
from .tensors import check_tensors, load_tensors, save_tensors, write_tensors

RECIPE, STEPS, MEASURED = "maskrt.yaml", "maskrt.steps", "maskrt.measured"
IMPORTED, CATEGORY_IDS = "maskrt.imported", "maskrt.category_ids"
"""In the header. Checkpoints of maskrt 0.1 hold the recipe's name alone, as "maskrt.recipe"."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights and where they came from."""

    recipe: Recipe
    model: Network
    sha256: str
    """Of the safetensors file."""
    steps: int
    """Training steps of maskrt behind the weights; 0 for an untrained or an imported network."""
    measured: dict[str, float]
    """Accuracy written at the end of training, e.g. {"box_ap": 51.2}; empty when never measured."""
    imported: Imported | None
    """What other project's weights these are."""
    category_ids: tuple[int, ...] = ()
    """Of each label in the data set trained on; empty numbers them from 1."""

    @property
    def origin(self) -> str:
        """How the weights came about, in half a sentence."""
        if self.imported is not None:
            return self.imported.words
        return f"trained for {self.steps} steps" if self.steps else "untrained"


def save_checkpoint(
    path: Path,
    model: Network,
    *,
    steps: int = 0,
    measured: dict[str, float] | None = None,
    imported: Imported | None = None,
    category_ids: tuple[int, ...] = (),
) -> None:
    """Write weights and recipe, each atomically.

    The recipe is put in place between the writing and the renaming of the weights: they never stand
    alone, and a disk that is full leaves an older pair as it was.
    """
    require_suffix(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file to write. Name another.")
    text = dump_recipe(model.recipe)
    metadata = {RECIPE: text, STEPS: str(steps), MEASURED: json.dumps(measured or {})}
    if imported is not None:
        metadata[IMPORTED] = imported.to_json()
    if category_ids not in ((), tuple(range(1, len(category_ids) + 1))):
        metadata[CATEGORY_IDS] = json.dumps(category_ids)
    with atomic_path(path) as temporary:
        write_tensors(temporary, model.state_dict(), metadata)
        write_text(path.with_suffix(".yaml"), text)


def load_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint.

    Raises:
        InputError: missing or broken files, weights and recipe that do not belong together, NaN or
            infinite weights.
        ConfigError: the recipe beside it is not valid.
    """
    tensors, metadata = load_tensors(path)
    recipe = _recipe_beside(path, metadata.get(RECIPE))
    steps, measured = _steps(path, metadata), _measured(path, metadata)
    imported = imported_in(metadata.get(IMPORTED), path, IMPORTED)
    category_ids = _category_ids(path, metadata, len(recipe.class_names))
    with torch.device("meta"):  # no memory for what a recipe of other weights may ask
        expected = new_network(recipe).state_dict()
    check_tensors(path, tensors, expected)
    model = new_network(recipe)
    model.load_state_dict(tensors)
    found = (sha256_of(path), steps, measured, imported, category_ids)
    return Checkpoint(recipe, model.eval(), *found)


def _recipe_beside(path: Path, saved: str | None) -> Recipe:
    """The recipe in the YAML file, which must say what was saved with the weights."""
    recipe_path = path.with_suffix(".yaml")
    if not recipe_path.is_file():
        raise InputError(
            f"{recipe_path}: no such file; expected the resolved recipe beside the checkpoint. "
            "Copy it from where the checkpoint was made."
        )
    recipe = load_recipe(recipe_path)
    if saved is None:
        return recipe
    before = parse_recipe(saved, f"{path} (header)")
    found = [d for d in differences(before, recipe) if not _names_classes(*d)]
    if found:
        key, then, now = found[0]
        more = f", and {len(found) - 1} more keys differ" if found[1:] else ""
        raise InputError(
            f"{path}: saved with {key}={shown(then)}; {recipe_path.name} beside it says "
            f"{shown(now)}{more}. They do not belong together: copy both again, or write back what "
            "was changed."
        )
    return recipe


def _names_classes(key: str, saved: object, now: object) -> bool:
    """Whether classes that an import could only number got their names; see `import_weights`."""
    if key != "classes" or not isinstance(saved, list) or not isinstance(now, list):
        return False
    return len(saved) == len(now) and saved == [f"class_{i}" for i in range(len(saved))]


def _steps(path: Path, metadata: dict[str, str]) -> int:
    text = metadata.get(STEPS, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _header_error(path, STEPS, text, "a number of training steps")
    return int(text)


def _measured(path: Path, metadata: dict[str, str]) -> dict[str, float]:
    text = metadata.get(MEASURED, "{}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not all(map(_is_number, values.values())):
        raise _header_error(path, MEASURED, text, "a JSON object of numbers")
    return {name: float(value) for name, value in values.items()}


def _category_ids(path: Path, metadata: dict[str, str], classes: int) -> tuple[int, ...]:
    text = metadata.get(CATEGORY_IDS, "[]")
    try:
        ids = decoded(tuple[int, ...], parse_json(text))
    except ValueError:
        ids = (0, 0)
    if ids and (len(ids) != classes or len(set(ids)) != classes):
        raise _header_error(path, CATEGORY_IDS, text, f"{classes} whole numbers, none twice")
    return ids


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _header_error(path: Path, key: str, text: str, expected: str) -> InputError:
    return InputError(
        f"{path}: {key} in its header is {shown(text)}; expected {expected}. Copy it again."
    )


def require_suffix(path: Path) -> None:
    """InputError unless `path` ends in .safetensors."""
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path}: checkpoints are .safetensors files; found suffix '{path.suffix}'. Rename it."
        )


def require_new(path: Path, *, overwrite: bool) -> None:
    """InputError where a checkpoint or its recipe is at `path` already, unless to be replaced."""
    there = [file for file in (path, path.with_suffix(".yaml")) if os.path.lexists(file)]
    if there and not overwrite:
        raise InputError(
            f"{there[0]}: is there already; expected a new file for weights and their recipe. "
            "Name another, or use --overwrite."
        )


def record_accuracy(path: Path, measured: dict[str, float]) -> None:
    """Write measured accuracy into a checkpoint's header (its bytes, so its SHA-256, change)."""
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, metadata | {MEASURED: json.dumps(measured)})


def new_checkpoint(
    recipe: Recipe, path: Path, backbone: Path | None = None, weights: Path | None = None
) -> Taken | None:
    """Write an untrained network, seeded by the recipe; the rest as `start_from`."""
    torch.manual_seed(torch_seed(recipe.solver.seed))
    model = new_network(recipe)
    taken = start_from(model, backbone, weights)
    save_checkpoint(path, model)
    return taken


def start_from(
    model: Network, backbone: Path | None = None, weights: Path | None = None
) -> Taken | None:
    """Give a new network, in place, what it starts from; None where that is nothing.

    Args:
        model: of any family.
        backbone: checkpoint whose body is taken, all of it and nothing else.
        weights: checkpoint of which all that fits is taken.

    Raises:
        InputError, ConfigError: as `load_checkpoint` and `take_weights`, or both are given.
    """
    if backbone is not None and weights is not None:
        raise ConfigError(
            f"--backbone {backbone}: --weights {weights} found beside it, which brings a backbone "
            "too; expected one of them. Leave the other away."
        )
    path = weights or backbone
    if path is None:
        return None
    return take_weights(model, load_checkpoint(path), path, body_only=weights is None)
