"""The real server in a thread of this process, in front of the tiny artefact of tests/runtime."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.pictures.picture_path import Picture
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.serving.server import Server, listening_socket, server_for
from maskrt.serving.settings import ServeSettings
from maskrt.serving.web.service import Opened, Service

from ...runtime.conftest import tiny_contract, write_onnx

__all__ = ["tiny_contract", "write_onnx"]


class GatedPredictor(Predictor):
    """A predictor that waits before each run while its gate is closed."""

    def __init__(self, session: OrtSession) -> None:
        super().__init__(session)
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def predict(self, images: Sequence[Picture]) -> list[Instances]:
        self.gate.wait()
        self.batches.append(len(images))
        return super().predict(images)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    predictor: GatedPredictor
    """Of its model `tiny`, whose batch is 2."""
    service: Service
    server: Server
    thread: threading.Thread

    @property
    def waiting(self) -> int:
        return self.service.models["tiny"].batcher.waiting

    @property
    def under_way(self) -> int:
        return len(self.service.models["tiny"].batcher._under_way)

    def stop(self) -> None:
        self.server.should_exit = True

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=20)


Connect = Callable[[Running], socket.socket]
Start = Callable[..., contextlib.AbstractContextManager[Running]]


@pytest.fixture
def start(write_onnx: Callable[[str | None], Path], tiny_contract: Contract) -> Start:
    """Starts a server with these settings; the end of its block stops it."""

    @contextlib.contextmanager
    def started(**settings: object) -> Iterator[Running]:
        path = write_onnx(tiny_contract.to_json())
        chosen = ServeSettings(port=0, **settings)  # type: ignore[arg-type]
        session = OrtSession(path, provider="cpu", threads=1)
        ready = threading.Event()
        with GatedPredictor(session) as predictor, listening_socket("127.0.0.1", 0) as bound:
            service = Service({"tiny": Opened(predictor)}, chosen)
            server = server_for(service, ready.set)
            run = lambda: asyncio.run(server._serve([bound]))  # noqa: E731
            thread = threading.Thread(target=run)
            thread.start()
            assert ready.wait(20)
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            try:
                yield Running(url, predictor, service, server, thread)
            finally:
                predictor.gate.set()
                server.should_exit = True
                thread.join(20)
                assert not thread.is_alive()

    return started


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections that speak no HTTP by themselves, and closes them."""
    with contextlib.ExitStack() as stack:

        def opened(running: Running) -> socket.socket:
            host, port = running.url.removeprefix("http://").split(":")
            return stack.enter_context(socket.create_connection((host, int(port)), timeout=20))

        yield opened


def png(value: int, hw: tuple[int, int] = (40, 60)) -> bytes:
    """A picture of one grey: its instances have the score value / 255."""
    _, data = cv2.imencode(".png", np.full((*hw, 3), value, np.uint8))
    return data.tobytes()
