"""Which instances a user wants: by score, of each class its own, and by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError


def least_scores(
    score: float, by_class: Mapping[str, float], class_names: Sequence[str]
) -> npt.NDArray[np.float32]:
    """The least score of each class, (C,) float32: its own where `by_class` names it.

    Raises:
        InputError: a score outside 0 to 1, or a class that there is not.
    """
    for name, one in (("", score), *by_class.items()):
        if not 0 <= one <= 1:
            of = name and f" of {name}"
            raise InputError(f"score {one}{of}: expected a score from 0 to 1. Correct it.")
    labels_of(tuple(by_class), class_names)
    return np.array([by_class.get(name, score) for name in class_names], dtype=np.float32)


def labels_of(classes: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """The labels of some classes.

    Raises:
        InputError: a class that there is not.
    """
    for name in classes:
        if name not in class_names:
            raise InputError(
                f"class '{name}': not among those of this network; expected some of "
                f"{', '.join(class_names)}. Correct the name."
            )
    return [label for label, name in enumerate(class_names) if name in classes]
