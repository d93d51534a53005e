"""Noise batches: what a session takes, the same at every call."""

import numpy as np

from maskrt.runtime.pictures.noise import noise_batch
from maskrt.runtime.sessions.interface import check_inputs


def test_a_batch_fits_the_contract_and_repeats(tiny_contract):
    images, sizes = noise_batch(tiny_contract)
    check_inputs(tiny_contract, images, sizes)
    assert (sizes == tiny_contract.canvas_hw).all()
    assert np.array_equal(images, noise_batch(tiny_contract)[0])
    assert not np.array_equal(images, noise_batch(tiny_contract, seed=1)[0])
