"""pytest plugin of try_python: tests of training and export are skipped where torch is not.

Tests of the command line and the workflows share files with those of training; which of them need
torch is told by what they fail with, so that no list has to follow them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

SIGNS = ("No module named 'torch'", "need 3.11 or later")
"""What a failure says that needs torch: Python's words and maskrt's."""
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

_failed_fixtures: list[BaseException] = []
"""pytest raises them again for every test of the fixture, without what had been printed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test or its fixture."""
    report = yield
    err = None if call.excinfo is None else call.excinfo.value
    again = any(err is one for one in _failed_fixtures)
    if report.failed and err is not None and (again or _needs_torch(report)):
        _failed_fixtures.append(err)
        return _skipped(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file of tests that imports torch."""
    report = yield
    return _skipped(report, collector.nodeid) if _needs_torch(report) else report


def _needs_torch(report: pytest.TestReport | pytest.CollectReport) -> bool:
    said = report.longreprtext + report.capstderr
    return report.failed and any(sign in said for sign in SIGNS)


def _skipped(report: Report, name: str) -> Report:
    report.outcome = "skipped"
    report.longrepr = (name.partition("::")[0], 0, "Skipped: trains or exports")
    return report
