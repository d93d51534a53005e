"""The service as a process under load and attack, with the tiny artefact."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.tools.service.load import main, problems

from ..runtime.conftest import tiny_contract, write_onnx

__all__ = ["tiny_contract", "write_onnx"]


def test_overload_loses_nothing_and_hostile_requests_break_nothing(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_onnx(tiny_contract.to_json())
    for number in range(8):
        picture = np.full((240, 320, 3), 100 + 20 * number, np.uint8)
        picture[60:100, 80:200] = 255 - 10 * number
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    words = [f"{model}@threads=1", "--pictures", tmp_path, "--seconds", 2, "--turns", 2]
    words += ["--hostile", 60]
    main(list(map(str, words)))  # in 2 seconds memory is not flat yet
    said = capsys.readouterr()
    found = json.loads(said.out)
    wrong = [line for line in said.err.splitlines() if "memory grew" not in line]
    assert not wrong
    assert found["overload"]["statuses"]["200"] > 10
    assert sum(sum(kind.values()) for kind in found["hostile"]["kinds"].values()) == 60
    assert {"413"} == set(found["hostile"]["kinds"]["header states a bomb"])
    assert found["added"][0]["batch"] == 2
    _check_that_each_problem_is_seen(found)


def _check_that_each_problem_is_seen(found: dict[str, object]) -> None:
    for part, name, value in (
        ("overload", "lost", {"ReadError": 1}),
        ("overload", "statuses", {"200": 9, "500": 1}),
        ("overload", "differing", 1),
        ("overload", "growth", 0.5),
        ("hostile", "kinds", {"picture cut": {"400": 9, "500": 1}}),
        ("hostile", "alive", False),
        ("hostile", "answers_after", False),
        ("hostile", "tracebacks", 1),
    ):
        changed = copy.deepcopy(found)
        changed["overload"]["growth"] = 0.0  # type: ignore[index]
        changed[part][name] = value  # type: ignore[index]
        assert len(problems(changed)) == 1, name
