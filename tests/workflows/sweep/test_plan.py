"""Sweeps that are shipped, and the sentences about those that are not right."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.workflows.sweep.plan import SHIPPED, load_plan

SMALL: dict[str, Any] = {
    "shapes": {"images": 4, "val_images": 2},
    "seeds": [0, 1],
    "rows": {
        "two": {"label": "two streams", "recipe": "fastmask_nano"},
        "one": {
            "label": "one",
            "recipe": "fastmask_nano",
            "overrides": ["model.streams=1"],
            "of": "two",
        },
    },
    "tables": {
        "first": {"title": "T", "metrics": ["mask_ar_100"], "rows": {"one": [26.6], "two": []}}
    },
}


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_a_shipped_sweep_trains_every_row_with_every_seed(name: str) -> None:
    plan = load_plan(name)
    runs = plan.runs()
    assert set(runs) == {(row, seed) for row in plan.rows for seed in plan.seeds}
    assert len(set(runs)) == len(runs)
    assert len(plan.seeds) == 3


def test_a_table_has_the_same_figures_at_every_size() -> None:
    shown = [load_plan(path.stem).tables for path in SHIPPED.glob("*.yaml")]
    for name in {name for tables in shown for name in tables}:
        same = [tables[name] for tables in shown if name in tables]
        assert len(same) == 2  # full size and nano
        assert same[0].head == same[1].head
        assert [*same[0].rows.values()] == [*same[1].rows.values()]


def test_the_budget_is_every_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "budget": ["solver.steps=7"]}))
    rows = load_plan(path).rows
    assert rows["two"].overrides == ("solver.steps=7",)
    assert rows["one"].words(1) == (
        *("fastmask_nano", "solver.steps=7", "model.streams=1", "solver.seed=1"),
    )


def test_a_row_comes_behind_the_one_whose_checkpoint_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    assert load_plan(path).runs() == [("two", 0), ("one", 0), ("two", 1), ("one", 1)]


def _set(*keys: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in keys[:-1]:
            raw = raw[key]
        raw[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("rovs", to={}), "unknown key 'rovs'"),
        (_set("rows", to=[]), r"'rows' is \[\]"),
        (_set("rows", to={"../x": {}}), "rows has a name '../x'"),
        (_set("seeds", to=[]), r"seeds=\[\]"),
        (_set("seeds", to=[*range(11)]), "at most 10"),
        (_set("seeds", to=["a"]), r"seeds=\['a'\]"),
        (_set("rows", "two", "recipe", to="fastmask_nanno"), "Did you mean fastmask_nano"),
        (_set("rows", "two", "overrides", to=["model.nek=max"]), "rows.two: .*model.neck"),
        (_set("rows", "two", "colour", to="red"), "rows.two.colour"),
        (_set("rows", "one", "of", to="three"), "rows.one.of=three"),
        (_set("rows", "one", "of", to="one"), "rows.one.of=one"),
        (_set("tables", "first", "rows", to={"tow": []}), "Did you mean two"),
        (_set("tables", "first", "rows", "one", to=[1.0, 2.0]), "a figure for each of"),
        (_set("tables", "first", "rows", "one", to=["x"]), "first.rows.one"),
        (_set("tables", "first", "metrics", to=["box_ap"]), "box_ap.*mask_ar_100"),
        (_set("tables", "first", to=3), "'tables.first' has no rows"),
        (_set("shapes", "images", to=0), "shapes.images=0"),
        (_set("shapes", "kinds", to=["blob"]), "shapes.kinds"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    raw = copy.deepcopy(SMALL)
    change(raw)
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=said) as error:
        load_plan(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[", "3", "a: !!timestamp x", ""])
def test_what_is_no_mapping_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"s\.yaml: "):
        load_plan(tmp_path / "s.yaml")


def test_an_unknown_name_tells_the_known() -> None:
    with pytest.raises(InputError, match="paper_tables_nano"):
        load_plan("paper_tables_nanno")
