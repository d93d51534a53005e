"""Results as JSON values: fields, the derived properties that a class names, arrays as lists."""

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json


@dataclasses.dataclass(frozen=True)
class Timed:
    DERIVED: ClassVar = ("total_ms",)

    name: str
    samples_ms: dict[str, np.ndarray]
    tags: tuple[str, ...] = ()
    inner: "Timed | None" = None

    @property
    def total_ms(self) -> float:
        return float(sum(samples.sum() for samples in self.samples_ms.values()))

    @property
    def unnamed(self) -> str:
        raise AssertionError("only what DERIVED names is read")


def test_a_result_becomes_what_json_takes():
    samples = np.array([[1.25, 2.0000004], [3.0, 4.0]])
    inner = Timed("b", {})
    values = to_json([Timed("a", {"model": samples}, ("x", "y"), inner)])
    assert json.loads(json.dumps(values)) == values
    assert values == [
        {
            "name": "a",
            "samples_ms": {"model": [[1.25, 2.0], [3.0, 4.0]]},
            "tags": ["x", "y"],
            "inner": {"name": "b", "samples_ms": {}, "tags": [], "inner": None, "total_ms": 0.0},
            "total_ms": pytest.approx(10.25),
        }
    ]


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="Decoder has no JSON value"):
        to_json({"a": (json.JSONDecoder(),)})
