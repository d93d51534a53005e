"""What surrounds each request: who may ask, its trace, a line in the log, the counters.

A plain ASGI layer around the whole application, so that it sees refusals and errors too and leaves
`receive` as it is: the routes watch it for clients that go away.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import time

from h11 import LocalProtocolError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..refusals import CLIENT_GONE
from .page_files import is_page_file
from .service import Service
from .traces import trace_of

LOG = logging.getLogger("maskrt.serving")
HEALTH = ("/v2/health/live", "/v2/health/ready")
"""Asked by what watches the process, which has no token."""
NO_ROUTE = "none"


class Observed:
    """The application with a token asked for, traces, log lines and counters."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), CLIENT_GONE
        headers = Headers(scope=scope)
        trace = trace_of(headers.get("traceparent"))

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["traceparent"] = str(trace)
            # uvicorn answers broken HTTP with 400 by itself, also in the middle of a body
            with contextlib.suppress(LocalProtocolError):
                await send(message)

        app = self._app if self._may_ask(scope["path"], headers) else _ask_for_token
        try:
            await app(scope, receive, send_traced)
        except Exception:  # answered with 500 and logged by the application
            status = 500
        seconds = time.monotonic() - start
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._service.metrics.answered(route, status, seconds)
        LOG.info(
            *("%s %s %d %.1f ms trace %s", scope["method"], route, status),
            *(1000 * seconds, trace.trace_id),
        )

    def _may_ask(self, path: str, headers: Headers) -> bool:
        token = self._service.settings.token
        if token is None or path in HEALTH or is_page_file(path):
            return True
        given = headers.get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, f"Bearer {token}".encode())


async def _ask_for_token(scope: Scope, receive: Receive, send: Send) -> None:
    sentence = "Authorization: the token is missing or wrong; expected 'Bearer TOKEN'. Ask for it."
    answer = JSONResponse({"error": sentence}, 401, headers={"WWW-Authenticate": "Bearer"})
    await answer(scope, receive, send)
