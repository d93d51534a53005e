"""A torchvision detector with random weights that find something, and what it finds in pictures.

    python tools/counterparts/torchvision_reference.py FOLDER --network maskrcnn_resnet50_fpn

Runs by itself where torchvision is (`pip install torch==2.14.1 torchvision==0.29.1`), without this
package: `against_torchvision.py` calls it and compares. FOLDER holds `pictures.npz` (`picture_0`,
..., (H, W, 3) uint8 RGB, taken at their own size); written are `weights.pth` (the state dict) and
`found.npz` (of each picture `boxes_0` (N, 4), `scores_0`, `labels_0` from 1 on, `masks_0` (N, 28,
28) probabilities in the boxes' frames); `ulp.npz`, the same of pictures each number of which is the
next larger or the next smaller one; and `noise.npz`, of pictures with noise of 1e-6 of each.

Untrained weights give every box the same score. So norms take the statistics of the pictures, and
the last layers of each branch are centred and scaled until what they say differs from cell to cell;
boxes are larger than their anchors, or all would be pooled from the finest level, and most RoIs are
background, so that scores lie on both sides of the threshold. A random network also makes much of
little: a block adds a fifth of what it sees and scores and boxes are spread no wider than needed,
until rounding shows below 1e-4 of a score. The first version's norms are frozen, as in its
published weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor, nn

CLASSES = 6
"""With the background."""
RESIDUAL = 0.2
"""What a block's last norm is scaled by."""
OBJECTNESS, DELTAS, SCORES, EDGES, MASKS = 2.0, 0.1, 0.7, 0.8, 1.5
"""Spread of what the last layers give."""
LARGER = 0.9
"""Logarithm of a proposal's sides over its anchor's, in the middle."""
BACKGROUND = 4.8
"""By how much the background's logit is above the others', in the middle."""
NOISE = 1e-6


class FrozenNorm(torchvision.ops.misc.FrozenBatchNorm2d):  # type: ignore[misc,unused-ignore]
    """torchvision's, made of a batch norm."""

    def __init__(self, norm: nn.BatchNorm2d, eps: float) -> None:
        super().__init__(norm.num_features, eps)
        state = norm.state_dict()
        self.load_state_dict({k: v for k, v in state.items() if k != "num_batches_tracked"})


def network(
    name: str,
    seed: int,
    pictures: Sequence[Tensor],
    norm_eps: float,
    classes: int = CLASSES,
    background: float = BACKGROUND,
) -> nn.Module:
    """Torchvision's `name` with weights drawn by `seed`, calibrated on pictures (3, H, W)."""
    torch.manual_seed(seed)
    build = getattr(torchvision.models.detection, name)
    model: Any = build(weights=None, weights_backbone=None, num_classes=classes).eval()
    for place, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.2)
            if place.endswith(".bn3"):
                nn.init.uniform_(module.weight, 0.5 * RESIDUAL, RESIDUAL)
    with _measuring(model):
        run(model, pictures)
    if not name.endswith("_v2"):  # which has norms there
        _spread(model, pictures, [block[0] for block in model.backbone.fpn.layer_blocks], 1.0)
    rpn, predictor = model.rpn.head, model.roi_heads.box_predictor
    _spread(model, pictures, [rpn.cls_logits], OBJECTNESS)
    _spread(model, pictures, [rpn.bbox_pred], DELTAS)
    _add(rpn.bbox_pred, [0.0, 0.0, LARGER, LARGER] * 3)
    with _measuring(model.roi_heads):
        run(model, pictures)
    _spread(model, pictures, [predictor.cls_score], SCORES)
    _spread(model, pictures, [predictor.bbox_pred], EDGES)
    _add(predictor.cls_score, [background] + [0.0] * (classes - 1))
    if model.roi_heads.has_mask():
        with _measuring(model.roi_heads.mask_head):  # of detections, which there are now
            run(model, pictures)
        _spread(model, pictures, [model.roi_heads.mask_predictor.mask_fcn_logits], MASKS)
    if not name.endswith("_v2"):
        _freeze(model.backbone.body, norm_eps)
    return model  # type: ignore[no-any-return]


@contextmanager
def _measuring(module: nn.Module) -> Iterator[None]:
    """Batch norms of `module` take the mean of all statistics they see, from none on."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all
        norm.train()
    yield
    for norm in norms:
        norm.eval()


def _spread(model: Any, pictures: Sequence[Tensor], layers: Sequence[Any], spread: float) -> None:
    """Centre what each channel of `layers` gives, and scale it to `spread`."""
    seen: dict[Any, list[Tensor]] = {layer: [] for layer in layers}
    hooks = [
        layer.register_forward_hook(
            lambda layer, _inputs, out: seen[layer].append(out.transpose(0, 1).flatten(1))
        )
        for layer in layers
    ]
    run(model, pictures)
    for hook, (layer, outs) in zip(hooks, seen.items(), strict=True):
        hook.remove()
        values = torch.cat(outs, dim=1)  # (channels, all cells)
        scale = spread / values.std(dim=1).clamp(min=1e-6)
        with torch.no_grad():
            layer.bias.sub_(values.mean(dim=1)).mul_(scale)
            layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))


def _add(layer: Any, values: Sequence[float]) -> None:
    with torch.no_grad():
        layer.bias.add_(torch.tensor(values))


def _freeze(module: nn.Module, eps: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenNorm(child, eps))
        else:
            _freeze(child, eps)


@torch.no_grad()
def run(model: Any, pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Detections of each (3, H, W) picture of 0 to 1, masks as the mask head gives them."""
    found = []
    for picture in pictures:
        sides = picture.shape[1:]
        model.transform.min_size, model.transform.max_size = (min(sides),), max(sides)  # as it is
        found.append(detections(model, picture))
    return found


def detections(model: Any, picture: Tensor) -> dict[str, Tensor]:
    """Of one picture at the size that the model's transform has."""
    images, _ = model.transform([picture])
    features = model.backbone(images.tensors)
    proposals, _ = model.rpn(images, features)
    found, _ = model.roi_heads(features, proposals, images.image_sizes)
    return found[0]  # type: ignore[no-any-return]


def neighbours(picture: Tensor) -> Tensor:
    """Each value's next larger or next smaller one."""
    away = torch.where(torch.rand_like(picture) < 0.5, -torch.inf, torch.inf)
    return torch.nextafter(picture, away)


def write_found(file: Path, found: list[dict[str, Tensor]]) -> None:
    """`boxes_0` and so on of each picture."""
    named = {f"{k}_{i}": v.numpy() for i, picture in enumerate(found) for k, v in picture.items()}
    np.savez(file, allow_pickle=False, **named)


def main(argv: Sequence[str] | None = None) -> int:
    """Write weights and detections."""
    parser = argparse.ArgumentParser(prog="python tools/counterparts/torchvision_reference.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="maskrcnn_resnet50_fpn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--norm-eps", type=float, default=1e-5, help="of frozen norms")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    with np.load(arguments.folder / "pictures.npz") as stored:
        pictures = [
            torch.from_numpy(stored[f"picture_{i}"]).permute(2, 0, 1).float() / 255
            for i in range(len(stored.files))
        ]
    model = network(arguments.network, arguments.seed, pictures[::5], arguments.norm_eps)
    torch.save(model.state_dict(), arguments.folder / "weights.pth")
    write_found(arguments.folder / "found.npz", run(model, pictures))
    nearest = [neighbours(picture) for picture in pictures]
    write_found(arguments.folder / "ulp.npz", run(model, nearest))
    noisy = [picture * (1 + NOISE * torch.randn_like(picture)) for picture in pictures]
    write_found(arguments.folder / "noise.npz", run(model, noisy))
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
