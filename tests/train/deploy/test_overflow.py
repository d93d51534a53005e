"""What the scores of a picture say about its logits."""

import pytest
import torch

from maskrt.train.deploy.overflow import carry_overflow


def test_finite_logits_leave_scores_as_they_are() -> None:
    scores = torch.rand(2, 5)
    logits = torch.full((2, 10_000, 4), 65504.0)
    assert torch.equal(carry_overflow(scores, logits, -logits), scores)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_one_value_spoils_all_scores_of_its_picture_alone(value: float, which: int) -> None:
    scores = torch.rand(2, 5)
    logits = [torch.zeros(2, 7), torch.zeros(2, 7, 4)]
    logits[which][1].view(-1)[3] = value
    found = carry_overflow(scores, *logits)
    assert torch.equal(found[0], scores[0])
    assert not found[1].isfinite().any()
