"""The process: a socket that listens, uvicorn around the application, and how it ends.

SIGTERM and Ctrl-C stop it: it takes no more connections, finishes what it has accepted and leaves
with 0; a second Ctrl-C leaves at once. uvicorn waits for ever for a client that neither sends nor
reads; `Idle` closes such connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn

from ..runtime.errors import InputError
from .settings import ServeSettings
from .web.app import application
from .web.service import Opened, Service

MOST_CONNECTIONS = 500
"""At the same time; uvicorn refuses others with 503. A process may have 1024 files open."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket.

    Raises:
        InputError: no such address on this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)  # unnamed, asyncio leaves Nagle's wait on
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as err:
        raise InputError(
            f"serve: {host} port {port} cannot be listened on ({err.strerror or err}); expected an "
            "address of this machine and a free port. Choose --host and --port."
        ) from err
    return bound


def serve(
    models: Mapping[str, Opened],
    settings: ServeSettings,
    bound: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    """Answer requests until a signal stops it; called in the main thread.

    Args:
        models: by the names that requests call them by; they stay the caller's to close.
        settings: limits; the address is the socket's.
        bound: from `listening_socket`; it is closed at the end.
        on_ready: called once all models have run and requests are answered.

    Raises:
        MaskRTError: a model failed on its first picture.
    """
    service = Service(models, settings)
    service.warm_up()  # before uvicorn, which would end with an exit code of its own
    server = server_for(service, on_ready)
    asyncio.run(server.serve(sockets=[bound]))


def server_for(service: Service, on_ready: Callable[[], None]) -> Server:
    """The application with uvicorn around it, which starts and stops the service."""
    settings = service.settings
    config = uvicorn.Config(
        application(service),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(settings.queue_s + 2 * settings.receive_s) + 1,
    )
    return Server(config, settings.receive_s, on_ready)


class Server(uvicorn.Server):
    """uvicorn's, which closes idle connections and leaves a signal's exit code to its caller."""

    def __init__(self, config: uvicorn.Config, idle_s: float, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._idle = Idle(idle_s)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            self._idle.close_some(self.server_state.connections)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which would raise the signals again at the end: stopping is no failure."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Idle:
    """Connections on which nothing has moved on for a while."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._since: dict[Any, tuple[Any, float]] = {}

    def close_some(self, connections: set[Any]) -> None:
        """Close those that wait for their client and did so, at the same place, for too long."""
        now = time.monotonic()
        self._since = {
            each: self._since[each]
            if each in self._since and self._since[each][0] is each.cycle
            else (each.cycle, now)
            for each in connections
            if _waits_for_client(each)
        }
        for connection, (_, since) in self._since.items():
            if now - since > self._most_s:
                connection.transport.abort()


def _waits_for_client(connection: Any) -> bool:
    """No request is under way, or its answer is not being read."""
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or connection.flow.write_paused
