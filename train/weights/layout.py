"""How another project names its tensors, and a network given them by those names.

A tensor that is missing, of another shape, not finite or left over is an error: half a network is
worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...runtime.errors import InputError
from ..networks.mask_rcnn import MaskRCNN
from ..networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe


def _as_it_is(_: str, value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Layout:
    """How one project names and shares out the tensors."""

    title: str
    name_of: Callable[[str], str]
    """Our name -> the project's."""
    dropped: str
    """Pattern of the project's names that hold nothing for us."""
    heads: bool = False
    """Whether the heads come too; else only `backbone` and res5."""
    statistics_optional: bool = False
    """Whether a file may leave all running means and variances out, meaning 0 and 1."""
    overrides: tuple[str, ...] = ()
    """What the weights change in the recipe."""
    settings: str = "the zoo's R50-C4"
    """What the recipe has where nobody says otherwise."""
    others: str = "--config CONFIG.yaml"
    """How to have others."""
    arranged: Callable[[str, Tensor], Tensor] = _as_it_is
    """The project's name and its tensor -> the tensor with its rows in our order."""


def model_from(
    file: Path,
    weights: Mapping[str, Any],
    layout: Layout,
    recipe: MaskRCNNRecipe | MaskRCNNFPNRecipe,
) -> tuple[MaskRCNN | MaskRCNNFPN, dict[str, Tensor]]:
    """The recipe's network with `weights`; heads that the layout does not have are seeded as ever.

    Args:
        file: where the weights are from, for messages.
        weights: the project's name -> array or tensor of floats.
        layout: whose names these are.
        recipe: Mask R-CNN, C4 with subnet c5 or on a pyramid; its widths need not be ResNet-50's.

    Returns:
        The network, and the tensors it was given by our names, float32.

    Raises:
        InputError: a tensor is missing, unknown, of another shape or type, or not finite.
    """
    torch.manual_seed(recipe.solver.seed)
    model = MaskRCNN(recipe) if isinstance(recipe, MaskRCNNRecipe) else MaskRCNNFPN(recipe)
    expected = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if layout.heads or name.startswith(("backbone.", "subnet.res5."))
    }
    given = _complete({_spelled(k): v for k, v in weights.items()}, layout, expected)
    names = {name: layout.name_of(name) for name in expected}
    _check_names(file, set(names.values()), set(given), layout)
    taken = {
        ours: _tensor(file, theirs, given[theirs], expected[ours], layout)
        for ours, theirs in names.items()
    }
    model.load_state_dict(taken, strict=layout.heads)
    return model, taken


def _spelled(name: str) -> str:
    """Caffe2's norm tensors have long and short names; the long ones."""
    short = {"s": "gamma", "b": "beta", "rm": "running_mean", "riv": "running_var"}
    return re.sub(r"_bn_(s|b|rm|riv)$", lambda found: f"_bn_{short[found[1]]}", name)


def _complete(
    weights: dict[str, Any], layout: Layout, expected: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Without what is dropped; with the statistics that early files leave out, where all are."""
    kept = {k: v for k, v in weights.items() if not re.fullmatch(layout.dropped, k)}
    if not layout.statistics_optional or any("running_" in name for name in kept):
        return kept
    means = {n: torch.zeros_like(t) for n, t in expected.items() if n.endswith("running_mean")}
    variances = {n: torch.ones_like(t) for n, t in expected.items() if n.endswith("running_var")}
    return kept | {layout.name_of(n): t for n, t in (means | variances).items()}


def _check_names(file: Path, expected: set[str], found: set[str], layout: Layout) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if not missing and not unknown:
        return
    parts = [
        f"{len(names)} tensors {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, word in ((missing, "missing"), (unknown, "unknown"))
        if names
    ]
    raise InputError(
        f"{file}: {' and '.join(parts)}; expected exactly the {len(expected)} of {layout.title}. "
        "Choose another file or --format."
    )


def _tensor(file: Path, name: str, value: Any, expected: Tensor, layout: Layout) -> Tensor:
    """`value` as float32 of `expected`'s shape, finite, its rows in our order."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is reported below
            value = torch.from_numpy(value.astype(np.float32))
    if not (isinstance(value, Tensor) and value.is_floating_point() and _dense(value)):
        kind = getattr(value, "dtype", type(value).__name__)
        raise InputError(f"{file}: '{name}' is {kind}; expected floats. Choose another file.")
    arranged = layout.arranged(name, value)
    if arranged.shape != expected.shape:
        rows = value.shape[0] - arranged.shape[0] if value.ndim else 0  # of the background
        wanted = (expected.shape[0] + rows, *expected.shape[1:])
        raise InputError(
            f"{file}: '{name}' is {tuple(value.shape)}; expected {wanted}. "
            "The weights are of another network: choose another file."
        )
    tensor = arranged.detach().float()
    if not torch.isfinite(tensor).all():
        raise InputError(
            f"{file}: '{name}' holds NaN or infinite values; expected finite weights. "
            "Choose another file."
        )
    return tensor


def _dense(value: Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu"
