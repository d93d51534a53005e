"""A request's body in memory: never more of it than may come, and not for longer than it may take.

Bodies are refused by their length where they state one, else as soon as too much has come. What has
come so far counts in the lease, so that thousands of slow senders cannot fill the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ..refusals import RefusedError, gone
from .budget import Lease

MOST_FIELDS = 8
"""Parts of a form beside the picture; none is read."""


async def read_body(request: Request, most_bytes: int, receive_s: float, lease: Lease) -> bytes:
    """The whole body.

    Raises:
        RefusedError: 413 too long, 415 compressed, 408 not sent in time, 503 too much memory is
            held, 499 the client went away.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise RefusedError(
            415,
            f"the body: its Content-Encoding is '{coding[:40]}'; expected none. Send it as it is.",
        )
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most_bytes:
        raise _too_long(most_bytes)
    try:
        return await asyncio.wait_for(_read(request, most_bytes, lease), receive_s)
    except asyncio.TimeoutError as err:
        raise RefusedError(
            408, f"the body: not all of it came in {receive_s:g} s. Send it faster, or less."
        ) from err
    except ClientDisconnect as err:
        raise gone() from err


async def _read(request: Request, most_bytes: int, lease: Lease) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > most_bytes:
            raise _too_long(most_bytes)
        lease.resize(len(body) + len(chunk))
        body += chunk
    return bytes(body)


def _too_long(most_bytes: int) -> RefusedError:
    return RefusedError(
        413, f"the body: longer than {most_bytes} bytes; expected at most so many. Send less."
    )


async def picture_in(request: Request, body: bytes) -> bytes:
    """The picture file of a body: the file of a form, or the body itself.

    Raises:
        RefusedError: 400, a form that cannot be read or has not exactly one file.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return body
    parser = MultiPartParser(request.headers, _at_once(body), max_files=1, max_fields=MOST_FIELDS)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as err:
        raise _no_form(f"cannot be read ({str(err)[:200] or type(err).__name__})") from err
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise _no_form(f"has {len(files)} files")
        return await files[0].read()
    finally:
        await form.close()


def _no_form(found: str) -> RefusedError:
    return RefusedError(
        400, f"the form: it {found}; expected multipart/form-data with one file. Send one picture."
    )


async def _at_once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
    yield b""
