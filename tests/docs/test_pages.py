"""The documentation's commands parse, its snippets run, its links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from maskrt.cli.main import parser
from maskrt.tools.reference import subcommands

from ..conftest import Ran
from .conftest import DOCS, GENERATED, PAGES, README, ROOT, commands, fences

TEXTS = [*PAGES, README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
NEEDS_GPU = "# needs an NVIDIA GPU"
LINK = re.compile(r"\]\(([^)\s]+)\)")
IN_CODE = re.compile(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|cff))`")


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The headings of a page as its links write them."""
    titles = re.findall(r"^#+ (.+)$", read(path), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[\s-]+", "-", title) for title in plain}


@pytest.mark.parametrize("page", TEXTS, ids=ids)
def test_every_command_parses(page: Path) -> None:
    for words in commands(read(page)):
        arguments, rest = parser().parse_known_args(words)
        assert arguments.verb == words[0]
        assert all("=" in word and not word.startswith("-") for word in rest), words


def test_every_verb_is_shown_somewhere() -> None:
    text = "\n".join(map(read, TEXTS))
    assert not [verb for verb in subcommands(parser()) if f"maskrt {verb}" not in text]


@pytest.mark.parametrize("page", TEXTS, ids=ids)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for link in LINK.findall(read(page)):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target.parent == DOCS / "reference":
            assert target.name in GENERATED, link
            continue
        assert target.is_file(), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", TEXTS, ids=ids)
def test_every_file_of_the_repository_that_is_named_exists(page: Path) -> None:
    top = {path.name for path in ROOT.iterdir()} - {"out", "build"}
    for name in IN_CODE.findall(read(page)):
        first = name.split("/", maxsplit=1)[0]
        if "/" in name and first in top:
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", TEXTS, ids=ids)
def test_every_snippet_compiles_and_what_can_runs(
    page: Path, after_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(after_demo)
    for snippet in fences(read(page), "python"):
        code = compile(snippet, str(page), "exec")
        if not snippet.startswith(NEEDS_GPU):
            exec(code, {})


def test_the_quick_start_runs_as_written(
    after_demo: Path, maskrt: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(after_demo)
    shown = commands(read(DOCS / "index.md"))
    assert [words[0] for words in shown] == ["predict", "eval", "inspect", "doctor"]
    for words in shown:
        ran = maskrt(*words)
        assert ran.code == 0, (words, ran.err)
    assert (after_demo / "out" / "predicted" / "results.json").is_file()


@pytest.mark.parametrize("page", TEXTS, ids=ids)
def test_every_extra_that_is_named_exists(page: Path) -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    for line in re.findall(r'"\.\[([\w,-]+)\]"', read(page)):
        assert set(line.split(",")) <= set(project["optional-dependencies"]), line


def test_every_page_is_in_the_navigation_and_in_llms_txt() -> None:
    navigation = yaml.safe_load(read(ROOT / "mkdocs.yml"))["nav"]
    listed = set(re.findall(r"'([\w/]+\.md)'", str(navigation)))
    here = {path.relative_to(DOCS).as_posix() for path in PAGES}
    assert listed == here | {f"reference/{name}" for name in GENERATED}
    assert set(LINK.findall(read(DOCS / "llms.txt"))) == here


def test_nothing_names_a_machine() -> None:
    kept = [*TEXTS, DOCS / "llms.txt", ROOT / "mkdocs.yml", ROOT / "CITATION.cff"]
    assert not [page for page in kept if re.search(r"/(work|tmp|root|home)/", read(page))]
