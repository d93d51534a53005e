"""`solver.compile`: the body through torch.compile; RPN, sampling and heads stay as they are.

Sizes of canvases are symbols; still, a canvas of another kind (upright, say) may be compiled for
anew, on a CPU for a minute or more. Rounding is another than that of a body as it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..runtime.errors import ConfigError, first_line
from .networks.families import Network
from .networks.fastmask import FastMask
from .networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN

BACKEND = "inductor"


def compile_body(model: Network) -> None:
    """In place; names of parameters stay, and nothing is compiled before the first step."""
    if isinstance(model, MaskRCNNFPN):
        maps = torch.compile(model.backbone.maps, dynamic=True, backend=BACKEND)
        model.backbone.maps = maps  # type: ignore[method-assign]
    else:
        (model.body if isinstance(model, FastMask) else model.backbone).compile(
            dynamic=True, backend=BACKEND
        )


@contextlib.contextmanager
def compiler_named() -> Iterator[None]:
    """ConfigError where torch's compilers stop."""
    try:
        yield
    except RuntimeError as err:
        if not type(err).__module__.startswith(("torch._dynamo.", "torch._inductor.")):
            raise
        raise ConfigError(
            f"solver.compile=true: torch.compile stopped ({first_line(err)}); expected a compiler, "
            "on a CPU of C++. Install g++, or leave solver.compile away."
        ) from err
