"""The list of the quick start for photographs is what was walked, in the minutes that it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools.training.walk import PAGE, ROOT, commands_of, walk

CLOCKS = ("seconds", "processor_seconds")
RECORD = ROOT / "eval" / "records" / "walk_cpu.json"


def test_commands_of_the_page_run_in_their_order_until_one_fails(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    page = "```sh\necho one > a  # said behind it\ncat a > b\n```\nmore\n```sh\nrm a\n```\n"
    steps = walk(commands_of(page), tmp_path)
    assert [step["command"] for step in steps] == ["echo one > a", "cat a > b"]
    assert (tmp_path / "b").read_text() == "one\n"
    with pytest.raises(InputError, match="false: ended with 1"):
        walk(["false", "rm b"], tmp_path)
    assert (tmp_path / "b").exists()


def test_the_page_s_commands_and_minutes_are_the_record_s() -> None:
    record = json.loads(RECORD.read_text())
    text = PAGE.read_text(encoding="utf-8")
    assert [step["command"] for step in record["steps"]] == commands_of(text)
    minutes = [round(sum(s[of] for s in record["steps"]) / 60) for of in CLOCKS]
    found = re.search(r"(\d+) commands.*?(\d+) minutes.*?(\d+) of a processor", text, re.DOTALL)
    assert found is not None
    assert [int(number) for number in found.groups()] == [len(record["steps"]), *minutes]
    assert f"mask AP {record['accuracy'][0]['mask']['AP']:.0f}" in text
