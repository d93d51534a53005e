"""How a command ends: its exit code, and one sentence on standard error where it did not go well.

    0 done   1 an accuracy gate failed   2 bad usage or bad input   3 an error nobody foresaw
    130 interrupted (Ctrl-C)   143 terminated   141 nobody reads its output any more

Of 3 the traceback is in a file of the temporary folder, named in the sentence.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

FULL_OUTPUT, UNFORESEEN, BROKEN_PIPE = 2, 3, 128 + signal.SIGPIPE
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Signals:
    """While the block lasts Ctrl-C and SIGTERM raise KeyboardInterrupt and are remembered.

    Remembered, because other people's code may catch what is raised in it and go on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The last signal that came."""
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in WORDS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker dies of it, without a word
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = number
        raise KeyboardInterrupt


class _Stream:
    """Standard output or error, remembering whether it could be written.

    Remembered, because an OSError does not say which file it is about, and argparse catches it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.broken: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._watched():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._watched():
            self._stream.flush()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self.broken = err
            raise


@contextlib.contextmanager
def watched_streams() -> Iterator[None]:
    """While the block lasts `end` can tell whether standard output and error take what they get."""
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            if stream is not None:  # it is where the shell closed it, `>&-`
                setattr(sys, name, _Stream(stream))
        stack.callback(setattr, sys, "stdout", before[0])
        stack.callback(setattr, sys, "stderr", before[1])
        yield


def end(where: str, err: BaseException | None, signals: Signals) -> int:
    """Say what there is to say of `err`, None where all went well; returns the exit code.

    Args:
        where: the command, e.g. "maskrt build".
        err: what the command raised; a KeyboardInterrupt may bring its own sentence.
        signals: that came meanwhile.
    """
    if signals.received is not None or isinstance(err, KeyboardInterrupt):
        number = signal.Signals(signals.received or signal.SIGINT)
        own = str(err) if isinstance(err, KeyboardInterrupt) else ""
        _say(f"{where}: {own or WORDS[number] + '; nothing half-written stays.'}")
        return 128 + number
    if broken := _broken_output():
        if not isinstance(broken, BrokenPipeError):
            reason = broken.strerror or broken
            _say(f"{where}: its output could not be written ({reason}); write it somewhere else.")
        return BROKEN_PIPE if isinstance(broken, BrokenPipeError) else FULL_OUTPUT
    if err is None:
        return 0
    from ..runtime.errors import MaskRTError

    if isinstance(err, MaskRTError):
        _say(f"{where}: {err}")
        return err.exit_code
    _say(_unforeseen(where, err))
    return UNFORESEEN


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # a full disk behind 2> must not change the exit code
        _broken_output()


def _broken_output() -> OSError | None:
    """Why standard output or error cannot be written; it goes nowhere from here on."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, _Stream):
            continue
        with contextlib.suppress(OSError):
            stream.flush()
        if stream.broken:
            # what is still buffered would raise again when Python leaves
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return stream.broken
    return None


def _unforeseen(where: str, err: BaseException) -> str:
    from ..runtime.errors import first_line

    lines = "".join(traceback.format_exception(err))
    what = f"{where}: {type(err).__name__}: {first_line(err)}; expected a result or a known error."
    try:
        handle, name = tempfile.mkstemp(prefix="maskrt-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(lines)
    except OSError:
        return f"{lines}{what} Report it with the traceback above."
    return f"{what} Report it with the traceback in {name}."
