"""Predictions that overlap are those of `predict`: same results, same order, no thread left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.closing import Closing
from maskrt.runtime.contract import Outputs
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.sessions.ort_session import OrtSession


@pytest.fixture
def predictor(chain: Any) -> Iterator[Predictor]:
    """An untrained network: every slot is filled, so that results can differ."""
    with Predictor(OrtSession(chain.onnx, provider="cpu", threads=1)) as opened:
        yield opened


@pytest.fixture
def tiny(write_onnx: Any, tiny_contract: Any) -> Predictor:
    """Batches of two."""
    path: Path = write_onnx(tiny_contract.to_json())
    return Predictor(OrtSession(path, provider="cpu", threads=1))


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    sizes = rng.integers(20, 90, (count, 2))
    return [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def assert_same(found: list[Instances], expected: list[Instances]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.image_hw == other.image_hw
        for name in ("boxes", "scores", "labels", "masks"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("maskrt-stream")]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_results_are_those_of_predict_in_order(predictor: Predictor, depth: int) -> None:
    images = pictures(7)
    expected = predictor.predict(images)
    assert any(len(one.scores) for one in expected)
    assert_same(list(predictor.stream(iter(images), depth)), expected)
    assert threads() == []


@pytest.mark.parametrize("count", [0, 1, 5])
def test_batches_are_filled_and_the_last_may_be_short(tiny: Predictor, count: int) -> None:
    images = pictures(count)
    assert_same(list(tiny.stream(images)), tiny.predict(images))


def test_pictures_are_taken_only_as_far_as_the_depth(tiny: Predictor) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield np.full((32, 48, 3), len(taken) % 255, np.uint8)

    found = tiny.stream(endless(), depth=3)
    assert taken == []
    next(found)
    assert len(taken) == 3 * tiny.contract.batch
    assert threads() != []
    found.close()
    assert threads() == []
    assert len(taken) == 3 * tiny.contract.batch


def test_leaving_the_loop_ends_the_threads(tiny: Predictor) -> None:
    for found in tiny.stream(pictures(20)):
        assert len(found.scores)
        break
    del found
    assert threads() == []


def test_what_fails_reaches_the_consumer_after_what_went_before(tiny: Predictor) -> None:
    images = pictures(6)
    images[4] = images[4].astype(np.float32)
    found: list[Instances] = []
    with pytest.raises(ContractError):
        found.extend(tiny.stream(images))
    assert_same(found, tiny.predict(images[:4]))
    assert threads() == []


def test_a_source_that_fails_reaches_the_consumer(tiny: Predictor) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from pictures(2)
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(tiny.stream(broken()))
    assert threads() == []


class MeetingSession(Closing):
    """Runs only when another batch is prepared or finished meanwhile."""

    on_device = None

    def __init__(self, session: OrtSession) -> None:
        self._session, self.contract = session, session.contract
        self.backend = session.backend
        self.both = threading.Barrier(2, timeout=30)

    def run(self, images: Any, image_sizes: Any) -> Outputs:
        self.both.wait()
        return self._session.run(images, image_sizes)

    def close(self) -> None:
        self._session.close()


def test_batches_are_under_way_at_the_same_time(tiny: Predictor) -> None:
    assert isinstance(tiny.session, OrtSession)
    images = pictures(8)
    expected = tiny.predict(images)
    meeting = Predictor(MeetingSession(tiny.session))
    assert_same(list(meeting.stream(images, depth=2)), expected)


def test_bad_arguments_are_told_at_once(tiny: Predictor) -> None:
    with pytest.raises(InputError, match="depth is 0; expected 1 or more"):
        tiny.stream([], depth=0)
    with pytest.raises(ContractError, match=r"Write stream\(\[image\]\)"):
        tiny.stream(np.zeros((8, 8, 3), np.uint8))


def test_a_closed_session_is_told(tiny: Predictor) -> None:
    tiny.close()
    with pytest.raises(SessionError, match="closed"):
        next(tiny.stream(pictures(1)))
