"""The weights of one checkpoint, trained or imported, as the beginning of another network.

    same name, same shape    kept
    class layers             remade: a class of the same name keeps its rows, the background too,
                             any other begins as the average of the classes that are known
    all else                 new, as the recipe's seed made it

Networks of other families share their body alone: Mask R-CNN's `backbone` with `subnet.res5`, which
a pyramid has in its backbone, and FastMask's `body`. Imported ImageNet weights hold no more either.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...runtime.errors import ConfigError
from ..networks.families import Network
from ..recipes.fastmask import FastMaskRecipe
from ..recipes.recipe import Recipe, differences
from ..recipes.values import shown

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

BODY = "body."
CLASS_ROWS = {"box_predictor.cls_score": 1, "box_predictor.bbox_pred": 4, "mask_head.predictor": 1}
"""Layers with so many rows a class, in label order; what follows is the background's."""
HOW_TRAINED = ("model.norm", "model.freeze_at", "model.dropout", "model.streams")
"""Keys of the network that do not change what its weights mean."""
SAME = 0.01
"""Of a mean or deviation of pixels: less apart than this share they are the same to any network."""
_NAMES_SHOWN = 6


@dataclass
class Taken:
    """What became of the tensors when weights were taken, by the new network's names."""

    source: str
    """The file, and how its weights came about."""
    kept: list[str] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    """Of the file's own names."""
    known: list[str] = field(default_factory=list)
    """Classes whose rows were kept."""
    begun: list[str] = field(default_factory=list)
    """Classes that begin as the average of the file's."""
    other: list[str] = field(default_factory=list)
    """Settings of the network that the file's had otherwise, "key=value (its value)"."""

    @property
    def lines(self) -> list[str]:
        """The same for people."""
        said = [f"weights of {self.source}", f"  kept: {_counted(self.kept)}"]
        if self.remade:
            said.append(f"  remade: {_counted(self.remade)}; {self._classes}")
        said.append(f"  new: {_counted(self.new)}")
        if self.unused:
            said.append(f"  not used: {_counted(self.unused)}")
        if self.other:
            said.append(f"  other settings than theirs: {_some(self.other)}")
        return said

    @property
    def _classes(self) -> str:
        known = f"{_some(self.known)} known by name" if self.known else "no class known by name"
        average = f", {_some(self.begun)} from the average of theirs" if self.begun else ""
        return known + average


def take_weights(
    model: Network, given: Checkpoint, path: Path, *, body_only: bool = False
) -> Taken:
    """Copy every tensor that fits into `model`, in place.

    Args:
        model: of any family.
        given: what to take from; of another family, or imported without heads, its body alone.
        path: its file, for messages.
        body_only: take the body and nothing else, and that whole.

    Returns:
        What was kept, remade and left as it was.

    Raises:
        ConfigError: they expect other pixels or strides, nothing fits, or (`body_only`) the body
            has other layers.
    """
    _check_meaning(model.recipe, given.recipe, path, body_only=body_only)
    same_family = model.recipe.family == given.recipe.family
    bare = body_only or not same_family or bool(given.imported and given.imported.rest)
    taken = Taken(f"{path.name} ({given.origin})")
    tensors = dict(_fitting(model, given, taken, bare=bare))
    _check_taken(model, taken, path, body_only=body_only)
    model.load_state_dict(tensors, strict=False)
    used = {_shared(name) for name in tensors}
    taken.unused = [name for name in given.model.state_dict() if _shared(name) not in used]
    if not bare:
        taken.other = _other_settings(given.recipe, model.recipe)
    return taken


def _fitting(
    model: Network, given: Checkpoint, taken: Taken, *, bare: bool
) -> Iterator[tuple[str, Tensor]]:
    """Name and value of what is taken; `taken` is told of every tensor of `model`."""
    theirs = {_shared(name): value for name, value in given.model.state_dict().items()}
    before, after = given.recipe.class_names, model.recipe.class_names
    for name, own in model.state_dict().items():
        of_body = _shared(name).startswith(BODY)
        value = _found(theirs, _shared(name)) if of_body or not bare else None
        rows = CLASS_ROWS.get(name.rpartition(".")[0], 0) if before != after else 0
        if value is not None and rows:
            value = _rows_by_name(value, rows, before, after)
        if value is None or value.shape != own.shape:
            taken.new.append(name)
            continue
        (taken.remade if rows else taken.kept).append(name)
        yield name, value
    if taken.remade:
        taken.known = [name for name in after if name in before]
        taken.begun = [name for name in after if name not in before]


def require_trained(model: Network, kept: Collection[str], weights: Path | None) -> None:
    """ConfigError where layers that the recipe does not train would stay random.

    Args:
        model: about to be trained.
        kept: names of its tensors that have trained values.
        weights: where these are from, if anywhere.
    """
    random = [n for n, p in model.named_parameters() if not p.requires_grad and n not in kept]
    if not random or isinstance(model.recipe, FastMaskRecipe):
        return
    stages = dict.fromkeys(name.split(".")[1] for name in random)
    found = "no weights were given" if weights is None else f"{weights} does not hold them"
    raise ConfigError(
        f"{model.recipe.name}: {', '.join(stages)} would stay random, as training leaves them as "
        f"they are (model.freeze_at={model.recipe.model.freeze_at}) and {found}; expected trained "
        "ones. Give --weights CHECKPOINT, which 'maskrt import' makes of published ones, or set "
        "model.freeze_at=0 model.norm=batch model.head_norm=true."
    )


def _shared(name: str) -> str:
    """A tensor's name where families share it: "body." and the layer for the body's."""
    for prefix in ("backbone.", "subnet.res5."):
        if name.startswith(prefix):
            return BODY + name.removeprefix(prefix.removesuffix("res5."))
    return name


def _found(theirs: dict[str, Tensor], name: str) -> Tensor | None:
    """Of a second stream's own stage what the first one's is, where there is only that."""
    return theirs.get(name, theirs.get(name.replace("res4_second.", "res4.")))


def _rows_by_name(value: Tensor, rows: int, before: Sequence[str], after: Sequence[str]) -> Tensor:
    """Rows of classes `before` as rows of classes `after`; those behind them stay."""
    each = value[: len(before) * rows].unflatten(0, (len(before), rows))
    average = each.mean(dim=0)
    chosen = [each[before.index(name)] if name in before else average for name in after]
    return torch.cat([torch.stack(chosen).flatten(0, 1), value[len(before) * rows :]])


def _check_meaning(ours: Recipe, theirs: Recipe, path: Path, *, body_only: bool) -> None:
    """That pixels and strides are those the weights were trained with: no shape tells them."""
    wanted = {
        f"input.{name}": getattr(theirs.input, name)
        for name in ("channel_order", "mean", "std")
        if not _alike(getattr(theirs.input, name), getattr(ours.input, name))
    }
    keys = ("stride_in_1x1",) if body_only else ("stride_in_1x1", "compat")
    for name in keys:  # None in a family that has no choice
        value, now = getattr(theirs.model, name, None), getattr(ours.model, name, None)
        if None not in (value, now) and value != now:
            wanted[f"model.{name}"] = value
    if not wanted:
        return
    words = " ".join(f"{key}={_as_override(value)}" for key, value in wanted.items())
    raise ConfigError(
        f"{path}: weights of {words}; recipe {ours.name} says otherwise; expected the same pixels "
        f"and strides, without which they mean nothing. Add to the command: {words}."
    )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return bool(one == other)
    return all(math.isclose(*pair, rel_tol=SAME) for pair in zip(one, other, strict=True))


def _as_override(value: Any) -> str:
    """As a shell takes it in one word."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"[{','.join(f'{v:g}' for v in value)}]"


def _other_settings(theirs: Recipe, ours: Recipe) -> list[str]:
    return [
        f"{key}={shown(now)} ({shown(before)})"
        for key, before, now in differences(theirs, ours)
        if key.startswith("model.") and key not in HOW_TRAINED
    ]


def _check_taken(model: Network, taken: Taken, path: Path, *, body_only: bool) -> None:
    kept = set(taken.kept)
    body = [n for n in model.state_dict() if _shared(n).startswith(BODY) and ".res5." not in n]
    if body_only and not kept.issuperset(body):
        raise ConfigError(
            f"{path}: its backbone is not the one of recipe {model.recipe.name}; expected the same "
            "stem_channels, widths and blocks. Choose another file or recipe, or take what fits "
            "by --weights."
        )
    if not kept:
        raise ConfigError(
            f"{path}: none of its tensors fits recipe {model.recipe.name}; expected a body "
            "of the same widths at least. Choose another file or recipe."
        )


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "none"
    parts = dict.fromkeys(name.partition(".")[0] for name in names)
    return f"{len(names)} tensors ({', '.join(parts)})"


def _some(words: Iterable[str]) -> str:
    several = list(words)
    more = f" and {len(several) - _NAMES_SHOWN} more" if len(several) > _NAMES_SHOWN else ""
    return ", ".join(several[:_NAMES_SHOWN]) + more
