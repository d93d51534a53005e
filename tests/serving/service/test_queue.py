"""The queue: bounded, refused in time, left by who goes away, finished when the service stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .conftest import Connect, Start, png


def request(body: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_goes_away_leaves_the_queue(start: Start, connect: Connect) -> None:
    with start(wait_ms=0) as running, running.client() as client:
        running.predictor.gate.clear()
        running.predictor.batches.clear()
        gone = []
        for count in range(1, 4):
            gone.append(connect(running))
            gone[-1].sendall(request(png(count)))
            until(lambda count=count: running.under_way and running.waiting == count - 1)
        for connection in gone[1:]:
            connection.close()
        until(lambda: running.waiting == 0)
        running.predictor.gate.set()
        assert gone[0].recv(20).startswith(b"HTTP/1.1 200")
        assert client.post("/predict", content=png(255)).status_code == 200
        assert running.predictor.batches == [1, 1]


def test_a_full_queue_refuses_and_what_was_accepted_is_answered(start: Start) -> None:
    with start(queue=4) as running, httpx.Client(timeout=20, trust_env=False) as client:
        running.predictor.gate.clear()
        with ThreadPoolExecutor(16) as pool:
            ask = lambda n: client.post(f"{running.url}/predict?score=0", content=png(n))  # noqa: E731
            asked = [pool.submit(ask, 200 + n) for n in range(16)]
            until(lambda: sum(one.done() for one in asked) >= 8)
            running.predictor.gate.set()
            answers = [one.result() for one in asked]
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 4 <= len(accepted) <= 8
    assert {answer.status_code for answer in refused} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    for n, answer in enumerate(answers):
        if answer in accepted:
            score = answer.json()["instances"][0]["score"]
            assert score == pytest.approx((200 + n) / 255, abs=1e-6)


def test_what_has_waited_too_long_is_refused(start: Start, connect: Connect) -> None:
    with start(queue_s=0.3, wait_ms=0) as running:
        running.predictor.gate.clear()
        first, late = connect(running), connect(running)
        first.sendall(request(png(255)))
        until(lambda: running.waiting == 0 and running.under_way)
        late.sendall(request(png(255)))
        until(lambda: running.waiting == 1)
        time.sleep(0.4)
        running.predictor.gate.set()
        assert first.recv(20).startswith(b"HTTP/1.1 200")
        assert late.recv(20).startswith(b"HTTP/1.1 503")


def test_a_stop_answers_what_was_accepted(start: Start) -> None:
    with (
        start(wait_ms=1000) as running,
        running.client() as client,
        ThreadPoolExecutor(3) as pool,
    ):
        running.predictor.gate.clear()
        asked = [pool.submit(client.post, "/predict", content=png(255)) for _ in range(3)]
        until(lambda: running.under_way and running.waiting == 1)
        running.stop()
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            httpx.get(running.url + "/v2", trust_env=False)
        running.predictor.gate.set()
        assert [one.result().status_code for one in asked] == [200, 200, 200]
        running.thread.join(10)
        assert not running.thread.is_alive()
