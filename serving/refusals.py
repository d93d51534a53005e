"""Why a request is not answered as asked, as a status and a sentence."""

from __future__ import annotations

import math

from ..runtime.errors import ContractError, InputError, MaskRTError

CLIENT_GONE = 499
"""nginx's number for a client that did not wait for its answer; nobody reads it."""


class RefusedError(Exception):
    """A request that is refused; its text is an error's sentence."""

    def __init__(self, status: int, sentence: str, retry_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_s = retry_s
        """When to try again, in seconds; None where that would not help."""

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        if self.retry_s is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_s)))}


def refusal_of(err: Exception) -> RefusedError:
    """What an error of ours is to a client: its own mistake, or the server's."""
    if isinstance(err, RefusedError):
        return err
    if isinstance(err, InputError | ContractError):
        return RefusedError(400, str(err))
    if isinstance(err, MaskRTError):
        return RefusedError(500, str(err))
    return RefusedError(500, "the service: an error nobody foresaw; its log holds the traceback.")


def gone() -> RefusedError:
    """The client closed its connection."""
    return RefusedError(CLIENT_GONE, "the client closed its connection.")
