"""A folder that is either whole or absent, and nothing left of runs that were killed.

It is filled under a hidden name beside its own and renamed at the end. A process that is killed
cannot remove the hidden folder; its lock on it ends with it, which is how the next run tells a
stale folder from one that is being filled.

Where a folder is replaced the old one has a hidden name for as long as a rename takes; a process
that is killed just then leaves it there, and no folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import MaskRTError
from .files import write_error


@contextlib.contextmanager
def whole_folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block succeeds.

    Args:
        out: the folder.
        replace: `out` may be a folder that holds something; that is removed.

    Raises:
        InputError: it cannot be written, or `out` is a folder that holds something.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(out)
        hidden = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as err:
        raise write_error(out, err) from err
    try:
        with _locked(hidden):
            yield hidden
            hidden.chmod(0o755)
            _put_in_place(hidden, out, replace)
    except OSError as err:
        raise write_error(out, err) from err
    except MaskRTError as err:  # nobody knows the hidden name
        raise type(err)(str(err).replace(str(hidden), str(out))) from err
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _put_in_place(hidden: Path, out: Path, replace: bool) -> None:
    if not replace or not out.is_dir():
        hidden.replace(out)  # an empty folder may be replaced, any other may not
        return
    previous = hidden.with_name(f"{hidden.name}.previous")
    out.replace(previous)
    try:
        hidden.replace(out)
    except OSError:
        previous.replace(out)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _remove_stale(out: Path) -> None:
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        with contextlib.suppress(OSError), _locked(left):  # a file, or at work
            shutil.rmtree(left)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`; OSError when another process does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
