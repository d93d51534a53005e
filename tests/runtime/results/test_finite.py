"""NaN and infinity in outputs: every slot of every float output is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.contract import Outputs
from maskrt.runtime.errors import SessionError
from maskrt.runtime.results.finite import check_finite


@pytest.fixture
def outputs() -> Outputs:
    """One counted slot of three, two pictures."""
    return {
        "boxes": np.zeros((2, 3, 4), np.float32),
        "scores": np.zeros((2, 3), np.float32),
        "labels": np.zeros((2, 3), np.int32),
        "masks": np.zeros((2, 3, 4, 4), np.float32),
        "counts": np.ones(2, np.int32),
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "place"),
    [("boxes", (1, 0, 3)), ("scores", (1, 0)), ("scores", (1, 2)), ("masks", (1, 2, 3, 0))],
)
def test_a_value_that_is_not_finite_is_named_with_its_slot(
    outputs: Outputs, name: str, place: tuple[int, ...], value: float
) -> None:
    check_finite(outputs, "tiny", half=True)
    outputs[name][place] = value
    expected = rf"tiny: output '{name}' holds NaN or infinity in slot {place[1]} of picture 1; .*"
    with pytest.raises(SessionError, match=expected + "65504"):
        check_finite(outputs, "tiny", half=True)
    with pytest.raises(SessionError, match=expected + "export the checkpoint again"):
        check_finite(outputs, "tiny", half=False)
