"""Intervals over seeds, and what is said of the paper's order."""

import pytest

from maskrt.workflows.sweep.seeds import mean_of, order_sentence


def test_the_interval_is_students() -> None:
    found = mean_of([10.0, 12.0, 14.0])
    assert found.value == 12
    assert found.half == pytest.approx(4.303 * 2 / 3**0.5)  # t at 2 degrees, s = 2, n = 3
    assert str(found) == "12.0 ± 5.0"
    assert str(mean_of([3.0])) == "3.0"


@pytest.mark.parametrize(
    ("best", "worst", "said"),
    [
        ({0: 30.0, 1: 31.0, 2: 32.0}, {0: 20.0, 1: 21.1, 2: 21.9}, "holds: every step"),
        ({0: 30.0, 1: 31.0, 2: 32.0}, {0: 29.0, 1: 31.0, 2: 29.0}, "is that of the means, and"),
        ({0: 30.0, 1: 31.0, 2: 32.0}, {0: 31.0, 1: 31.0, 2: 33.0}, "is not that of the means"),
        ({0: 20.0, 1: 21.1, 2: 21.9}, {0: 30.0, 1: 31.0, 2: 32.0}, "does not hold: A - B -10.0"),
        ({0: 30.0}, {0: 20.0, 1: 20.0}, "cannot be judged"),
        ({0: 30.0, 1: 30.0}, {2: 20.0, 3: 20.0}, "cannot be judged"),  # no seed in common
    ],
)
def test_the_order_is_judged_by_differences_of_equal_seeds(
    best: dict[int, float], worst: dict[int, float], said: str
) -> None:
    rows = [("B", 27.0, worst), ("A", 29.0, best)]  # in any order: the paper's figures rank them
    sentence = order_sentence(rows, "box AP")
    assert sentence.startswith("The paper's order by box AP, A > B, ")
    assert said in sentence
