"""RoIAlign in torch against the definition in float64, and its gradient."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from maskrt.train.networks.roi_align import roi_align, roi_align_operator

# Positions below 64 cells keep 5e-6 in float32; neighbours of N(0, 1) differ by a few units.
FP32_TOLERANCE = 1e-4

Array = npt.NDArray[np.float64]


def sample(image: Array, y: float, x: float) -> Array:
    """(C, H, W) at one place: 0 beyond one cell outside, else clamped and bilinear."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(image))
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = image[:, top, left] * (1 - fx) + image[:, top, right] * fx
    lower = image[:, low, left] * (1 - fx) + image[:, low, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def reference(features: Array, rois: Array, cells: int, scale: float, samples: int) -> Array:
    """Sample by sample, straight from the specification in the module."""
    batch, channels = features.shape[:2]
    out = np.zeros((batch, rois.shape[1], channels, cells, cells))
    steps = (np.arange(cells * samples) + 0.5) / (cells * samples)
    for b, k in np.ndindex(*rois.shape[:2]):
        x0, y0, x1, y1 = rois[b, k] * scale - 0.5
        for i, y in enumerate(y0 + steps * (y1 - y0)):
            for j, x in enumerate(x0 + steps * (x1 - x0)):
                value = sample(features[b], y, x)
                out[b, k, :, i // samples, j // samples] += value / samples**2
    return out.reshape(-1, channels, cells, cells)


def random_boxes(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Boxes inside, across the border, wholly outside, and without an area; map of 96 x 160 px."""
    low = rng.uniform(-60, 170, (*shape, 2))
    boxes = np.concatenate((low, low + rng.uniform(0, 90, (*shape, 2))), axis=2)
    boxes[:, 0] = (0, 0, 160, 96)
    boxes[:, 1] = (30, 20, 30, 20)  # a point
    boxes[:, 2] = (-400, -400, -300, -300)
    boxes[:, 3] = (50, 40, 20, 10)  # inside out
    return boxes.astype(np.float32).astype(np.float64)


def test_known_answer() -> None:
    features = torch.arange(25.0).reshape(1, 1, 5, 5)
    out = roi_align(features, torch.tensor([[[1.0, 1, 3, 3]]]), 4, 1.0, 2)[0, 0]
    first = torch.tensor([4.5, 5.0, 5.5, 6.0])
    assert torch.equal(out, torch.stack([first + 2.5 * row for row in range(4)]))


@pytest.mark.parametrize(("cells", "samples"), [(7, 2), (4, 1), (3, 3)])
def test_float64_reference_on_two_images(cells: int, samples: int) -> None:
    rng = np.random.default_rng(cells)
    features, rois = rng.standard_normal((2, 3, 6, 10)), random_boxes(rng, (2, 12))
    expected = reference(features, rois, cells, 1 / 16, samples)
    found = roi_align(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(rois, dtype=torch.float32),
        cells,
        1 / 16,
        samples,
    )
    assert found.shape == (24, 3, cells, cells)
    np.testing.assert_allclose(found.numpy(), expected, atol=FP32_TOLERANCE, rtol=0)
    assert not expected.reshape(2, 12, -1)[:, 2].any()  # the box outside is all zero


def test_gradient_of_the_features_is_right() -> None:
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.standard_normal((2, 2, 4, 5)), requires_grad=True)
    rois = torch.tensor(random_boxes(rng, (2, 5)) / 2, dtype=torch.float32)
    assert torch.autograd.gradcheck(lambda x: roi_align(x, rois, 3, 1 / 16, 2), (features,))


def test_boxes_get_no_gradient() -> None:
    features = torch.rand(1, 2, 5, 5, requires_grad=True)
    rois = torch.tensor([[[1.0, 1, 3, 3]]], requires_grad=True)
    roi_align(features, rois, 2, 1.0, 2).sum().backward()
    assert rois.grad is None
    assert features.grad is not None
    assert features.grad.sum() == pytest.approx(2 * 4)  # inside, the weights of a cell sum to 1


def test_no_boxes_give_no_rows() -> None:
    assert roi_align(torch.rand(2, 3, 5, 5), torch.zeros(2, 0, 4), 7, 1.0, 2).shape == (0, 3, 7, 7)


def test_the_operator_computes_the_same() -> None:
    rng = np.random.default_rng(1)
    features = torch.tensor(rng.standard_normal((2, 3, 6, 10)), dtype=torch.float32)
    rois = torch.tensor(random_boxes(rng, (2, 6)), dtype=torch.float32)
    found = roi_align_operator(features, rois, 7, 1 / 16, 2)
    assert torch.equal(found, roi_align(features, rois, 7, 1 / 16, 2))
    assert found.is_contiguous()


def test_the_operators_fake_shape_and_strides_are_those_of_the_real_one() -> None:
    features, rois = torch.rand(2, 3, 6, 10), torch.rand(2, 5, 4)
    real = roi_align_operator(features, rois, 7, 1 / 16, 2)
    with FakeTensorMode() as mode:
        fake = roi_align_operator(mode.from_tensor(features), mode.from_tensor(rois), 7, 1 / 16, 2)
    assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)
