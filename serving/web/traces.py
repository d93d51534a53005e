"""W3C Trace Context: a request keeps the trace that its caller began, or begins one.

    traceparent: 00-<trace id, 32 hex digits>-<caller's span id, 16>-<flags, 2>

Source: https://www.w3.org/TR/trace-context/, sections 3.2 and 4.3.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOT_SAMPLED = "00"


@dataclass(frozen=True)
class Trace:
    """Where a request stands in its trace."""

    trace_id: str
    """32 hex digits, of all that one action of a user causes."""
    span_id: str
    """16 hex digits, of this request."""
    flags: str
    """2 hex digits, as the caller set them."""

    def __str__(self) -> str:
        """As the header writes it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def trace_of(traceparent: str | None) -> Trace:
    """A place in the caller's trace; in a new one where the header is none or wrong."""
    span_id = secrets.token_hex(8)
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found and _is_valid(*found.groups()):
        return Trace(found[2], span_id, found[4])
    return Trace(secrets.token_hex(16), span_id, _NOT_SAMPLED)


def _is_valid(version: str, trace_id: str, span_id: str, _: str, rest: str | None) -> bool:
    """All zeros are nothing's id; version ff is none, and version 00 has four parts."""
    known = version != "ff" and not (version == "00" and rest)
    return known and set(trace_id) != {"0"} and set(span_id) != {"0"}
