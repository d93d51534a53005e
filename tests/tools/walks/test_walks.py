"""The lists of the quick starts are what was walked, in the minutes that they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools.walks import photographs, served
from maskrt.tools.walks.steps import ROOT, commands_of, walk

CLOCKS = ("seconds", "processor_seconds")
RECORDS = ROOT / "eval" / "records"


def test_commands_of_the_page_run_in_their_order_until_one_fails(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\necho one > a  # said behind it\ncat a > b\n```\nmore\n```sh\nrm a\n```\n"
    )
    steps = walk(commands_of(page), tmp_path)
    assert [step["command"] for step in steps] == ["echo one > a", "cat a > b"]
    assert (tmp_path / "b").read_text() == "one\n"
    with pytest.raises(InputError, match="false: ended with 1"):
        walk(["false", "rm b"], tmp_path)
    assert (tmp_path / "b").exists()


def test_photographs_take_the_commands_and_minutes_of_the_record() -> None:
    record = json.loads((RECORDS / "walk_cpu.json").read_text())
    text = photographs.PAGE.read_text(encoding="utf-8")
    assert [step["command"] for step in record["steps"]] == commands_of(photographs.PAGE)
    minutes = [round(sum(s[of] for s in record["steps"]) / 60) for of in CLOCKS]
    found = re.search(r"(\d+) commands.*?(\d+) minutes.*?(\d+) of a processor", text, re.DOTALL)
    assert found is not None
    assert [int(number) for number in found.groups()] == [len(record["steps"]), *minutes]
    assert f"mask AP {record['accuracy'][0]['mask']['AP']:.0f}" in text


def test_a_served_page_takes_the_commands_and_seconds_of_the_record() -> None:
    record = json.loads((RECORDS / "served_cpu.json").read_text())
    text = served.PAGE.read_text(encoding="utf-8")
    assert [step["command"] for step in record["steps"]] == commands_of(served.PAGE)
    found = re.search(r"(\d+) commands.*?(\d+) seconds.*?(\d+) of them", text, re.DOTALL)
    assert found is not None
    total = sum(step["seconds"] for step in record["steps"]) + record["picture_shown_seconds"]
    installing = record["steps"][0]["seconds"]
    expected = [len(record["steps"]), round(total), round(installing)]
    assert [int(number) for number in found.groups()] == expected
    assert "shown" in record["page_says"]
