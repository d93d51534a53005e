"""NaN and infinity in what a session gives, whether or not a slot is counted.

A score that overflowed FP16 is NaN, and NaN fails `score > threshold` inside the graph: the object
is lost, its slot is not counted, and the NaN in that slot is all that is left to see.
"""

from __future__ import annotations

import numpy as np

from ..contract import Outputs
from ..errors import SessionError

OVERFLOW = (
    "FP16 ends at 65504 and a tensor went beyond: maskrt export --pictures with this picture names "
    "it, --mixture or --precision fp32 avoids it."
)
BROKEN = "The file is broken: export the checkpoint again, or train it anew."


def where_not_finite(outputs: Outputs) -> str | None:
    """The first output with NaN or infinity and its slot in words; None where all are finite."""
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            picture, slot = np.argwhere(~np.isfinite(values))[0][:2]
            return f"output '{name}' holds NaN or infinity in slot {slot} of picture {picture}"
    return None


def check_finite(outputs: Outputs, variant: str, *, half: bool) -> None:
    """Check every slot of a batch.

    Args:
        outputs: a contract's outputs by name, each (B, D, ...) or (B,), floats or integers.
        variant: of the artefact that gave them, for the sentence.
        half: whether part of it is computed in FP16: the sentence then says how to go on.

    Raises:
        SessionError: a float is NaN or infinite, in a counted slot or not.
    """
    found = where_not_finite(outputs)
    if found is None:
        return
    raise SessionError(
        f"{variant}: {found}; expected finite numbers in every slot, counted or not. "
        f"{OVERFLOW if half else BROKEN}"
    )
