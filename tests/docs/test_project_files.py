"""Licences, citation, issue form and continuous integration say what is so."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from typing import Any

import pytest
import yaml

from .conftest import DOCS, ROOT

REQUIREMENT = re.compile(r"[\w-]+")
PAGE = (DOCS / "licences.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\w-]+) \| ([\w, -]+) \| (.+) \|$", PAGE, re.MULTILINE)[2:]


def asked_for() -> dict[str, list[str]]:
    """By package: `always` or the extras that ask for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    groups = {"always": project["dependencies"], **project["optional-dependencies"]}
    for group, requirements in groups.items():
        for requirement in requirements:
            match = REQUIREMENT.match(requirement)
            assert match
            if match[0] != "maskrt":
                found.setdefault(match[0], []).append(group)
    return found


def licence_of(package: str) -> str:
    """As its metadata states it: an expression, else classifiers, a word or its file's name."""
    metadata: Any = importlib.metadata.metadata(package)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    stated = metadata.get("License-Expression") or ", ".join(classifiers) or metadata["License"]
    return str(stated or heading_of_licence(package))


def heading_of_licence(package: str) -> str:
    """The first two lines of the LICENSE file that a package comes with."""
    files = importlib.metadata.files(package) or []
    text = next(file for file in files if file.name == "LICENSE").read_text()
    return " ".join(line.strip() for line in text.split("\n")[:2])


def test_every_requirement_is_in_the_licence_table() -> None:
    assert {name: extras.split(", ") for name, extras, _ in ROWS} == asked_for()


def test_licences_of_what_is_installed_are_as_stated() -> None:
    checked = 0
    for name, _, licence in ROWS:
        try:
            found = licence_of(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert found == licence, name
        checked += 1
    assert checked >= 15


def test_the_citation_is_this_version_and_names_the_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    cited = {
        entry["url"].removeprefix("https://arxiv.org/abs/") for entry in citation["references"]
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert cited == set(re.findall(r"arxiv\.org/abs/([\d.]+)", readme))


@pytest.mark.parametrize("name", ["workflows/ci.yml", "ISSUE_TEMPLATE/bug.yml"])
def test_the_forms_are_yaml(name: str) -> None:
    assert yaml.safe_load((ROOT / ".github" / name).read_text(encoding="utf-8"))["name"]


def test_continuous_integration_runs_the_gate() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = flow["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}


def test_the_issue_form_asks_for_the_doctor() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    (field,) = [part for part in form["body"] if part["id"] == "doctor"]
    assert field["attributes"]["label"] == "maskrt doctor --json"
    assert field["validations"]["required"]
