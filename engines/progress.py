"""TensorRT's build phases as terminal progress bars, and builds that Ctrl-C ends.

`IProgressMonitor` is called from several threads, reuses phase names, and cancels the build when a
callback raises or returns anything but True: so a lock, bars kept by name, and no exception out.
Bars go to stderr: stdout belongs to results.

A signal is Python's main thread to handle, and one that is inside TensorRT handles it in whatever
callback comes next: TensorRT's logger then prints the KeyboardInterrupt and goes on. So TensorRT
works in a thread of its own while the main thread waits where it can be interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from .flavours import Flavour

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

WAIT_S = 0.2


def interruptible(work: Callable[[threading.Event], T]) -> T:
    """What `work` returns or raises, run in a thread of its own.

    Args:
        work: is given an event; once it is set the result is not wanted any more.

    Raises:
        KeyboardInterrupt: the user interrupted; raised when `work` has ended.
    """
    stop, known = threading.Event(), threading.Event()

    def begin() -> T:
        known.wait()
        if stop.is_set():
            raise KeyboardInterrupt
        return work(stop)

    with ThreadPoolExecutor(1, "build") as pool:
        try:
            future = pool.submit(begin)
            known.set()  # an interrupted pool does not wait for a thread it does not know yet
            while wait([future], WAIT_S).not_done:
                pass  # a signal that another thread takes, or just before a wait, does not end it
            return future.result()
        except KeyboardInterrupt:
            stop.set()
            known.set()
            raise


class BuildPhases:
    """Bars of the phases under way; TensorRT gives up at its next step once `stop` is set."""

    def __init__(self, progress: Any, stop: threading.Event) -> None:
        self._progress = progress
        self._stop = stop
        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; `steps` is how many it announces."""
        with self._quietly(), self._lock:
            self._remove(name)
            indent = "" if parent is None else "  "
            self._tasks[name] = self._progress.add_task(indent + name, total=max(steps, 1))

    def step(self, name: str, step: int) -> bool:
        """A step (0-based) is done; the answer is whether to go on."""
        with self._quietly(), self._lock:
            if name in self._tasks:
                self._progress.update(self._tasks[name], completed=step + 1)
        return not self._stop.is_set()

    def finish(self, name: str) -> None:
        """A phase ends, perhaps before its last step."""
        with self._quietly(), self._lock:
            self._remove(name)

    def _remove(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            self._progress.remove_task(task)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except Exception as err:  # a broken bar must not cancel a build of minutes
            _LOG.debug("progress bar: %s", err)


@contextlib.contextmanager
def show_progress(
    flavour: Flavour, config: Any, shown: bool, stop: threading.Event
) -> Iterator[None]:
    """Attach bars to `config` while the block builds; hidden unless `shown` and on a terminal."""
    if not flavour.has_progress:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    hidden = not (shown and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        phases = BuildPhases(progress, stop)
        config.progress_monitor = monitor = progress_monitor(flavour.trt, phases)
        try:
            yield
        finally:
            config.progress_monitor = None
            del monitor  # TensorRT keeps no reference of its own


def progress_monitor(trt: Any, phases: BuildPhases) -> Any:
    """A `trt.IProgressMonitor` that tells `phases`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            phases.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            return phases.step(name, step)

        def phase_finish(self, name: str) -> None:
            phases.finish(name)

    return Monitor()
