import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from maskrt.runtime.json_values import decoded, parse_json, schema_version


@dataclass(frozen=True)
class Inner:
    share: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    count: int
    pair: tuple[int, int]
    inner: tuple[Inner, ...] = ()
    name: str | None = None
    sure: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    rest: Any = None


def test_a_whole_value_comes_as_its_dataclasses() -> None:
    text = (
        '{"count": 3, "pair": [1, -2], "inner": [{"share": 1, "kind": "b"}, {"share": 0.5}], '
        '"name": "\\u00e4", "sure": true, "notes": {"x": "y"}, "rest": [1, {"z": null}]}'
    )
    value = decoded(Outer, parse_json(text.encode()))
    inner = (Inner(1.0, "b"), Inner(0.5))
    assert value == Outer(3, (1, -2), inner, "ä", True, {"x": "y"}, [1, {"z": None}])
    assert type(value.inner[0].share) is float
    assert decoded(Outer, {"count": 3, "pair": [1, 2], "name": None}).name is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 1.0}, "count is 1.0; expected a whole number"),
        ({"count": False}, "count is false; expected a whole number"),
        ({"count": -(2**63)}, "count is -9223372036854775808; expected less than 9.2e+18"),
        ({"sure": 1}, "sure is 1; expected true or false"),
        ({"inner": [{"share": "1"}]}, 'inner[0].share is "1"; expected a number'),
        ({"inner": [{"share": 10**400}]}, "expected a finite number"),
        ({"inner": [{}]}, "no 'inner[0].share'"),
        ({"inner": [{"share": 1, "kind": []}]}, 'inner[0].kind is []; expected "a" or "b"'),
        ({"notes": {"x": 1}}, "notes.x is 1; expected text"),
        ({"name": "x" * 10, "notes": ["y" * 90]}, f'notes is ["{"y" * 35}...; expected an object'),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"expected|no '") as caught:
        decoded(Outer, {"count": 1, "pair": [1, 2], **change})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *('{"a": NaN}', "-Infinity", "[" * 10**6, '{"a":' * 60 + "1" + "}" * 60),
        *("{", "1" * 5000, '"\\ud800"', '{"\\ud800": 1}', b"\xff"),
    ],
    ids=lambda text: str(text[:12]),
)
def test_what_is_no_json_of_ours_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_fifty_levels_are_read() -> None:
    text = "[" * 49 + "]" * 49
    assert json.dumps(parse_json(text)) == text


@pytest.mark.parametrize("value", [[], {}, {"schema_version": "1"}, None])
def test_a_file_without_a_version_states_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"schema_version|expected an object"):
        schema_version(value)
