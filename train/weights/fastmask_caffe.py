"""Published Caffe weights as FastMask checkpoints.

Two files are known: FastMask's own `fm-res39_final_params.caffemodel` (also in its zoom form), and
MSRA's `ResNet-50-model.caffemodel`, whose body training starts from. Every layer must be there and
none may be left over. Layers that Caffe stores once for each use must be equal copies; the second
stream's convolutions are its own (see `bodies.py`), its norms must be the first's.

Conversions: Caffe's BatchNorm holds sums and a factor; conv1's bias moves into its norm's mean;
fully connected weights are (out, C * 10 * 10) and become (out, 10 * 10 * C), as windows lie here.

Source: layer names and shapes of voidrank/FastMask models/ at cb118f1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...runtime.errors import InputError
from ..networks.fastmask import FastMask
from ..networks.windows import WINDOW
from ..recipes.fastmask import FastMaskRecipe
from ..recipes.recipe import load_recipe
from .caffe_model import Blob, Layers, read_caffemodel
from .checkpoint import save_checkpoint
from .imported import imported_from
from .settings import changed_recipe, under

RECIPE = "fastmask_r39"
BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef"}
SECOND = "_div3"
REDUCTIONS = [f"conv_feat_1_{stride}s" for stride in (16, 24, 32, 48, 64, 96, 128, 192)]
NECK_FIRST = ["conv5_4", "conv5_4_div3", "conv6_1", "conv6_1_div3", "conv7_1", "conv7_1_div3"]
NECK_SECOND = ["conv5_5", "conv5_5_div3", "conv6_2", "conv6_2_div3", "conv7_2", "conv7_2_div3"]
ZOOM_ONLY = {"conv_feat_1_192s", "conv7_1_div3", "conv7_2_div3"}

UPSAMPLING = {"upscore": (8, 8), "upscore_": (1000, 1, 8, 8)}
"""One kernel, or in the zoom form one for each of its masks."""


@dataclass
class _Taken:
    """A file's layers, and what has been made of them."""

    path: Path
    layers: Layers
    shapes: Mapping[str, tuple[int, ...]]
    """Of the network's tensors, by our names."""
    used: set[str] = field(default_factory=set)
    state: dict[str, Tensor] = field(default_factory=dict)
    checks: int = 0

    def blobs(self, name: str, *shapes: tuple[int, ...]) -> list[Blob]:
        """The blobs of a layer that must be there, of these shapes.

        Older files write all shapes with four sizes, so ones in front do not count.
        """
        found = self.layers.get(name, [])
        if len(found) != len(shapes):
            raise InputError(
                f"{self.path}: layer '{name}' has {len(found)} blobs; expected {len(shapes)}. It "
                "is not the published FastMask or ResNet-50: take that file."
            )
        for blob, shape in zip(found, shapes, strict=True):
            if _core(blob.shape) != _core(shape):
                raise InputError(
                    f"{self.path}: layer '{name}' has a blob of {blob.shape}; expected {shape}. It "
                    "is not the published FastMask or ResNet-50: take that file."
                )
        self.used.add(name)
        return [blob.reshape(shape) for blob, shape in zip(found, shapes, strict=True)]

    def named(self, layer: str, *names: str) -> list[Blob]:
        """The blobs of a layer that are of the shapes of these tensors of ours."""
        return self.blobs(layer, *(self.shapes[name] for name in names))

    def put(self, name: str, value: Blob) -> None:
        """A tensor by our name."""
        self.state[name] = torch.from_numpy(np.ascontiguousarray(value, np.float32))

    def require(self, condition: bool, found: str, expected: str) -> None:
        """One self-check of the file."""
        if not condition:
            raise InputError(
                f"{self.path}: {found}; expected {expected}, as in the published weights. It is "
                "another training of the network, which this importer would read wrongly."
            )
        self.checks += 1


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the ones in front of it."""
    sizes = list(shape)
    while sizes[:1] == [1]:
        del sizes[0]
    return tuple(sizes)


def _same(first: list[Blob], second: list[Blob]) -> bool:
    """Equal to the last bit; NaN is reported by its own name, not as a difference."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def import_caffe(path: Path, out: Path, overrides: Sequence[str] = ()) -> str:
    """Turn a caffemodel into a checkpoint; arguments, result and errors as `import_checkpoint`.

    `overrides`: `key=value` each, of what may change without the weights (`settings`).
    """
    layers = read_caffemodel(path)
    whole = "cls_1" in layers
    recipe = load_recipe(RECIPE, ["model.compat=original"] if whole else [])
    assert isinstance(recipe, FastMaskRecipe), "the shipped recipe is of this family"
    torch.manual_seed(recipe.solver.seed)
    model = FastMask(recipe)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    taken = _Taken(path, layers, shapes)
    _body(taken, second=whole)
    if whole:
        _neck_and_head(taken)
    else:
        taken.used |= {name for name in taken.layers if "5" in name[:6] or name == "fc1000"}
    _load(model, taken, whole=whole)
    network = under(changed_recipe(recipe, overrides), model) if overrides else model
    rest = "" if whole else "neck and head"
    imported = imported_from(path, "FastMask's Caffe layers", rest=rest)
    save_checkpoint(out, network, imported=imported)
    if not whole:
        return f"the body of ResNet-50, {len(taken.state)} tensors; neck and head are untrained"
    settings = " ".join(["model.compat=original", *overrides])
    left_out = len(taken.state) - len(network.state_dict())
    without = f", without the {left_out} of the second stream" if left_out else ""
    return (
        f"FastMask with all its {len(taken.state)} tensors{without} as recipe {RECIPE} "
        f"{settings}; {taken.checks} self-checks passed"
    )


def _load(model: FastMask, taken: _Taken, *, whole: bool) -> None:
    left = sorted(taken.layers.keys() - taken.used)
    if left:
        raise InputError(
            f"{taken.path}: {len(left)} layers this network does not have (e.g. {left[0]}); "
            "expected the published FastMask ResNet-39 or ResNet-50. Take that file."
        )
    for name, tensor in taken.state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{taken.path}: '{name}' holds NaN or infinite values; expected finite weights. "
                "Download it again."
            )
    model.load_state_dict(taken.state, strict=whole)


def _body(taken: _Taken, *, second: bool) -> None:
    bias = _convolution(taken, "conv1", "body.stem.conv1", biased=True)
    _norm(taken, "bn_conv1", "scale_conv1", "body.stem.conv1.norm", bias)
    for ours, theirs, suffix in _convolutions(second):
        _convolution(taken, f"res{theirs}{suffix}", ours)
        _norm(taken, f"bn{theirs}{suffix}", f"scale{theirs}{suffix}", f"{ours}.norm")
        if suffix:
            for kind in ("bn", "scale"):
                both = [taken.layers[kind + theirs + end] for end in ("", suffix)]
                taken.require(
                    _same(*both),
                    f"'{kind}{theirs}{suffix}' differs from the first stream's",
                    "equal norms in both streams",
                )


def _convolutions(second: bool) -> Iterator[tuple[str, str, str]]:
    """Our name, their name after its kind, and the stream's suffix."""
    for stage, blocks in BLOCKS.items():
        for suffix in ("", SECOND) if stage == 4 and second else ("",):
            ours = f"body.res{stage}{'_second' if suffix else ''}"
            for number, block in enumerate(blocks):
                for branch, conv in BRANCHES.items():
                    if branch != "branch1" or block == "a":
                        yield f"{ours}.{number}.{conv}", f"{stage}{block}_{branch}", suffix


def _convolution(taken: _Taken, theirs: str, ours: str, *, biased: bool = False) -> Blob | None:
    shape = taken.shapes[f"{ours}.weight"]
    weight, *bias = taken.blobs(theirs, shape, *[shape[:1]] * biased)
    taken.put(f"{ours}.weight", weight)
    return bias[0] if biased else None


def _norm(taken: _Taken, norm: str, scale: str, ours: str, bias: Blob | None = None) -> None:
    mean, variance = _statistics(taken, norm, taken.shapes[f"{ours}.running_mean"])
    weight, shift = taken.named(scale, f"{ours}.weight", f"{ours}.bias")
    taken.put(f"{ours}.running_mean", mean if bias is None else mean - bias)
    taken.put(f"{ours}.running_var", variance)
    taken.put(f"{ours}.weight", weight)
    taken.put(f"{ours}.bias", shift)


def _statistics(taken: _Taken, name: str, shape: tuple[int, ...]) -> tuple[Blob, Blob]:
    """Mean and variance of Caffe's sums and their factor; without any, zeros."""
    means, variances, (factor,) = taken.blobs(name, shape, shape, (1,))
    share = np.float32(1 / factor if factor else 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # said as NaN or infinite values
        mean, variance = means * share, variances * share
    if (variance < 0).any():
        raise InputError(
            f"{taken.path}: layer '{name}' holds negative variances; expected 0 or more. "
            "Download it again."
        )
    return mean, variance


def _neck_and_head(taken: _Taken) -> None:
    for layers, names in (
        (REDUCTIONS, ["reduce.weight"]),
        (NECK_FIRST, ["neck.branch.0.weight", "neck.branch.0.bias"]),
        (NECK_SECOND, ["neck.branch.1.weight", "neck.branch.1.bias"]),
    ):
        for name, blob in zip(names, _shared(taken, layers, names), strict=True):
            taken.put(name, blob)
    _norm(taken, "sample_bn", "sample_scale", "norm")
    for theirs, ours in (("cls_1", "score_1"), ("att", "attention"), ("seg_1", "mask_1")):
        _linear(taken, theirs, ours, of_windows=True, biased=theirs != "seg_1")
    for theirs, ours in (("cls_2", "score_2"), ("obj_score", "objectness"), ("seg_2", "mask_2")):
        _linear(taken, theirs, ours)
    scale, shift = taken.named("seg_1_scale", "head.mask_scale", "head.mask_shift")
    taken.put("head.mask_scale", scale)
    taken.put("head.mask_shift", shift)
    _constants(taken)


def _shared(taken: _Taken, layers: list[str], ours: list[str]) -> list[Blob]:
    """The blobs that several layers hold equal copies of."""
    first = taken.named(layers[0], *ours)
    for name in layers[1:]:
        if name in ZOOM_ONLY and name not in taken.layers:
            continue
        taken.require(
            _same(first, taken.named(name, *ours)),
            f"'{name}' differs from '{layers[0]}'",
            "equal weights, which they share",
        )
    return first


def _linear(
    taken: _Taken, theirs: str, ours: str, *, of_windows: bool = False, biased: bool = True
) -> None:
    names = [f"head.{ours}.weight", *[f"head.{ours}.bias"] * biased]
    weight, *bias = taken.named(theirs, *names)
    if of_windows:
        weight = weight.reshape(len(weight), -1, WINDOW, WINDOW).transpose(0, 2, 3, 1)
    taken.put(names[0], weight.reshape(len(weight), -1))
    if biased:
        taken.put(names[1], bias[0])


def _constants(taken: _Taken) -> None:
    """Layers that hold no learned weights: what the network takes for granted."""
    if "seg_1_bn" in taken.layers:  # the zoom form has a constant factor instead
        shape = taken.shapes["head.mask_scale"]
        zeros = not any(blob.any() for blob in taken.blobs("seg_1_bn", shape, shape, (1,)))
        taken.require(zeros, "'seg_1_bn' holds statistics", "zeros")
    side = np.array([1, 3, 5, 7, 7, 5, 3, 1], np.float32) / 8
    for name, shape in UPSAMPLING.items():
        if name in taken.layers:
            (kernels,) = taken.blobs(name, shape)
            bilinear = np.allclose(kernels, np.outer(side, side), atol=1e-6)
            taken.require(bilinear, f"'{name}' is not bilinear", "kernels of bilinear upsampling")
