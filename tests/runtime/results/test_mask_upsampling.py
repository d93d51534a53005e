from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.errors import ContractError
from maskrt.runtime.results.mask_upsampling import upsampled

NEAR_ONE = 2.5e-5
"""A float32 probability near 1 - e**-8 is rounded by 2**-25, its logit by e**8 times that, and the
sigmoid's slope is at most 1/4: 2.2e-5."""
TINY = 1e-6
"""Small probabilities keep their logits; float32 logits up to 40 are rounded by 2e-6, times 1/4."""


def sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)


@pytest.mark.parametrize("shape", [(40, 40), (10, 7), (1, 1)])
@pytest.mark.parametrize(("lowest", "highest", "tolerance"), [(-8, 8, NEAR_ONE), (-40, 4, TINY)])
def test_upsampling_is_opencvs_on_logits(
    shape: tuple[int, int], lowest: float, highest: float, tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    logits = rng.uniform(lowest, highest, (5, *shape))
    found = upsampled(sigmoid(logits).astype(np.float32), 4)
    size = (4 * shape[1], 4 * shape[0])
    expected = [sigmoid(cv2.resize(one, size, interpolation=cv2.INTER_LINEAR)) for one in logits]
    assert found.dtype == np.float32
    assert found.shape == (5, 4 * shape[0], 4 * shape[1])
    assert np.abs(found - np.stack(expected)).max() < tolerance


def test_upsampling_probabilities_instead_would_be_seen() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (1, 10, 10))
    wrong = cv2.resize(sigmoid(logits)[0], (40, 40), interpolation=cv2.INTER_LINEAR)
    assert np.abs(upsampled(sigmoid(logits).astype(np.float32), 4)[0] - wrong).max() > 0.1


def test_saturated_probabilities_stay_finite_and_exact_where_they_are_flat() -> None:
    half = np.zeros((1, 8, 8), np.float32)
    half[:, :, 4:] = 1.0
    found = upsampled(half, 4)
    assert np.isfinite(found).all()
    assert (found[:, :, :14] < 1e-30).all()
    assert (found[:, :, 18:] > 1 - 1e-7).all()
    assert (np.diff(found[0], axis=1) >= 0).all()  # rises from side to side


def test_no_masks_give_no_masks() -> None:
    assert upsampled(np.zeros((0, 40, 40), np.float32), 4).shape == (0, 160, 160)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_values_that_are_no_probabilities_are_refused(value: float) -> None:
    masks = np.full((1, 4, 4), 0.5, np.float32)
    masks[0, 1, 1] = value
    with pytest.raises(ContractError, match="expected probabilities from 0 to 1"):
        upsampled(masks, 4)


@pytest.mark.parametrize("factor", [2, 3])
def test_other_factors_are_opencvs_too(factor: int) -> None:
    logits = np.random.default_rng(0).uniform(-8, 4, (2, 9, 5))
    size = (5 * factor, 9 * factor)
    expected = [sigmoid(cv2.resize(one, size, interpolation=cv2.INTER_LINEAR)) for one in logits]
    found = upsampled(sigmoid(logits).astype(np.float32), factor)
    assert np.abs(found - np.stack(expected)).max() < TINY


def test_a_factor_of_one_changes_nothing() -> None:
    masks = np.full((2, 3, 3), 0.4, np.float32)
    assert upsampled(masks, 1) is masks
