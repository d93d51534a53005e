"""Files that are either whole or absent: atomic writes, SHA-256, checks on what a user named."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; rename it to `final` when the block succeeds.

    On any error the temporary file is removed and an existing `final` is left as it was.

    Raises:
        InputError: the folder cannot be written (missing, read-only, full disk).
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(final, err) from err
    # 40 characters have 160 bytes at most: a name that fits has a temporary one that fits. It is
    # known before the file is there, so that a signal finds no moment in which nobody removes it.
    temporary = final.parent / f".{final.name[:40]}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.touch(0o600, exist_ok=False)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(final)
    except OSError as err:
        raise write_error(final, err) from err
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(final: Path, data: bytes) -> None:
    """Write `data` to `final` atomically; errors as `atomic_path`."""
    with atomic_path(final) as temporary:
        temporary.write_bytes(data)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 `text` to `final` atomically; errors as `atomic_path`."""
    write_bytes(final, text.encode())


def write_error(path: Path, err: OSError) -> InputError:
    """The sentence for a file that could not be written."""
    shown = str(path) if len(str(path)) <= 500 else f"{str(path)[:80]}..."
    names = (errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ENOTDIR)
    remedy = "Free some space or choose another folder."
    if err.errno in names:
        remedy = "Choose another name."
    return InputError(
        f"{shown}: could not be written ({err.strerror or err}); nothing was left behind. {remedy}"
    )


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_file(path: Path) -> bool:
    """Whether there is such a file; not where the file system takes no such name."""
    try:
        return path.is_file()
    except OSError:
        return False


def require_file(path: Path, what: str, suffixes: tuple[str, ...]) -> Path:
    """Check that `path` is an existing file with one of `suffixes`; return it.

    Raises:
        InputError: it is missing, a folder, empty, or of another kind.
    """
    expected = " or ".join(suffixes)
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"{path}: suffix '{path.suffix}' is not {what}; expected {expected}. Name such a file."
        )
    if not is_file(path):
        raise InputError(f"{path}: no such file; expected {what} ({expected}). Check the path.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; expected {what}. Make it again.")
    return path
