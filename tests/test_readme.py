"""The README's commands exist, its files exist, and its Make targets are in the Makefile."""

import re
import shlex
from pathlib import Path

import pytest

from maskrt.cli.main import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = "\n".join(re.findall(r"```\n(.*?)```", README, flags=re.DOTALL))
COMMANDS = re.findall(r"^(maskrt .+?)(?:\s+#.*)?$", FENCES, flags=re.MULTILINE)


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    arguments = parser().parse_args(shlex.split(command)[1:])
    assert arguments.verb == command.split()[1]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_linked_file_exists(path: str) -> None:
    assert (ROOT / path).is_file()


def test_no_number_waits_to_be_filled_in() -> None:
    assert "RESULTS" not in README
