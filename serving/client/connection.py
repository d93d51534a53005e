"""Requests to one server over connections that stay open, one for each thread."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...runtime.errors import InputError, SessionError, first_line
from ...runtime.json_values import parse_json

FULL = 503
_WAIT_S = 1.0
"""Before a full server is asked again, where it does not say how long."""


@dataclass(frozen=True)
class Answer:
    """What came back with status 200."""

    headers: http.client.HTTPMessage
    body: bytes


class Connection:
    """A server's address, and a connection to it for each thread that asks."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        """Read the address; nothing is sent.

        Raises:
            InputError: it is no http or https address, or no header can carry the token.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(
                f"{url}: no address of a server; expected one like http://127.0.0.1:8000. "
                "Correct it."
            )
        if token is not None and not (token.isascii() and token.isprintable()):
            raise InputError(
                f"{url}: a token with characters that a header cannot carry; expected printable "
                "ASCII. Correct the file that holds it."
            )
        self.host = parts.netloc
        self._opener = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._address: tuple[str, int | None] = (parts.hostname, port)
        self._prefix, self._url = parts.path.rstrip("/"), url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s
        self._of_thread = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, again while the server says that it is full.

        Raises:
            SessionError: it cannot be reached, is full for too long, or refuses.
        """
        until = time.monotonic() + self._timeout_s
        while True:
            status, found, content = self._once(method, path, body, headers or {})
            if status == http.HTTPStatus.OK:
                return Answer(found, content)
            wait_s = _wait_s(found)
            if status != FULL or time.monotonic() + wait_s > until:
                raise SessionError(
                    f"{self._url}{path}: the server answered {status} ({_said(content)}); expected "
                    f"200. {_remedy(status)}"
                )
            time.sleep(wait_s)

    def _once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Over the thread's connection; once more where the server had closed that meanwhile."""
        connection = self._of_this_thread()
        was_open = connection.sock is not None
        try:
            connection.request(
                method, self._prefix + path, body or None, {**self._headers, **headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as err:
            connection.close()  # it opens itself again with the next request
            if was_open and not isinstance(err, TimeoutError):
                return self._once(method, path, body, headers)
            raise SessionError(
                f"{self._url}: no answer ({first_line(err)}); expected a server of the Open "
                "Inference Protocol. Start one with maskrt serve, or correct the address."
            ) from err

    def _of_this_thread(self) -> http.client.HTTPConnection:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = self._opener(*self._address, timeout=self._timeout_s)
            self._opened.append(self._of_thread.connection)
        connection: http.client.HTTPConnection = self._of_thread.connection
        return connection

    def close(self) -> None:
        """Close every connection."""
        for connection in self._opened:
            connection.close()


def _wait_s(headers: http.client.HTTPMessage) -> float:
    stated = headers.get("Retry-After") or ""
    return float(stated) if stated.isascii() and stated.isdigit() else _WAIT_S


def _said(content: bytes) -> str:
    """The server's own sentence, or as much as there is of its answer."""
    try:
        message: Any = parse_json(content)
        return str(message["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return content[:100].decode(errors="replace").strip() or "nothing more"


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Name the file that holds its token with --token-file."
    if status == http.HTTPStatus.NOT_FOUND:
        return "Name a model that the server has."
    return "Look at the server's own log." if status != FULL else "Ask again later."
