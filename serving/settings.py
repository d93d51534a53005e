"""What a user of the service may set, with ranges."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..runtime.errors import InputError, first_line
from ..runtime.pictures.header import MOST_PX

MIB = 2**20
_RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "queue": (1, 100_000),
    "wait_ms": (0, 10_000),
    "queue_s": (0.1, 3600),
    "receive_s": (0.1, 3600),
    "most_bytes": (1024, 2**31),
    "most_px": (1, MOST_PX),
    "memory_bytes": (MIB, 2**40),
}


@dataclass(frozen=True)
class ServeSettings:
    """How the service listens and what it accepts; InputError for a value out of range."""

    host: str = "127.0.0.1"
    """Address to listen on; this one is reached from the same machine alone."""
    port: int = 8000
    """0 takes one that is free."""
    queue: int = 64
    """Pictures that may wait for each model; what comes beyond is refused with 503."""
    wait_ms: float = 5.0
    """How long a batch waits for more pictures where the artefact's batch is larger than 1."""
    queue_s: float = 30.0
    """The longest that a picture may wait; what would wait longer is refused at once."""
    receive_s: float = 30.0
    """In which a request has to be sent and an answer has to be taken."""
    most_bytes: int = 20 * MIB
    """Of one request's body."""
    most_px: int = 50_000_000
    """Of one picture, read from its header before it is decoded."""
    memory_bytes: int = 1024 * MIB
    """That all bodies and decoded pictures may take together."""
    token: str | None = None
    """What `Authorization: Bearer TOKEN` has to say; None lets everyone in."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise InputError(
                    f"serve: {name} is {getattr(self, name)}; expected {least:g} to {most:g}. "
                    "Correct it."
                )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise InputError(
                "serve: the token has characters that a header cannot carry; expected printable "
                "ASCII on one line. Write another one."
            )

    def __repr__(self) -> str:
        """Without the token, which no log may show."""
        shown = dataclasses.replace(self, token=self.token and "...")
        values = (f"{f.name}={getattr(shown, f.name)!r}" for f in dataclasses.fields(self))
        return f"ServeSettings({', '.join(values)})"


def read_token(path: Path) -> str:
    """The token that a file holds.

    Raises:
        InputError: it cannot be read, or holds nothing.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(
            f"{path}: could not be read ({first_line(err)}); expected a file with a token. "
            "Check the path."
        ) from err
    if not token:
        raise InputError(f"{path}: empty; expected a token on one line. Write one into it.")
    return token
