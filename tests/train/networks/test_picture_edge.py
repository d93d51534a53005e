"""What lies beyond a picture: zeros, but for its last row and column once more."""

import numpy as np
import torch

from maskrt.train.networks.picture_edge import edge_repeated, inside_of, masked

SIZES = ((5, 7), (8, 9), (1, 1), (8, 4), (3, 9))


def test_the_last_row_and_column_are_once_more_beyond_each_picture_of_a_batch() -> None:
    inside = inside_of(torch.tensor(SIZES), (8, 9))
    x = torch.randn(len(SIZES), 3, 8, 9, dtype=torch.float64)
    found = edge_repeated(masked(x, inside), inside)
    for picture, one, (height, width) in zip(x.numpy(), found.numpy(), SIZES, strict=True):
        expected = np.zeros((3, 10, 11))
        beyond = np.pad(picture[:, :height, :width], ((0, 0), (0, 1), (0, 1)), mode="edge")
        expected[:, : height + 1, : width + 1] = beyond
        np.testing.assert_array_equal(one, expected[:, :8, :9])
