"""TensorRT's build phases as terminal progress bars.

`IProgressMonitor` is called from several threads, reuses phase names, and cancels the build when a
callback raises or returns anything but True: so a lock, bars kept by name, and no exception out.
Bars go to stderr: stdout belongs to results.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from .flavours import Flavour

_LOG = logging.getLogger(__name__)


class BuildPhases:
    """Bars of the phases under way; `interrupted` once the user pressed Ctrl-C."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}
        self.interrupted = False

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
        return not self.interrupted

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
        except KeyboardInterrupt:
            self.interrupted = True
        except Exception as err:  # a broken bar must not cancel a build of minutes
            _LOG.debug("progress bar: %s", err)


@contextlib.contextmanager
def show_progress(flavour: Flavour, config: Any, shown: bool) -> Iterator[None]:
    """Attach bars to `config` while the block builds; hidden unless `shown` and on a terminal.

    Raises:
        KeyboardInterrupt: the user interrupted the build; raised when TensorRT has let go.
    """
    if not flavour.has_progress:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    hidden = not (shown and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        phases = BuildPhases(progress)
        config.progress_monitor = monitor = progress_monitor(flavour.trt, phases)
        try:
            yield
        finally:
            config.progress_monitor = None
            del monitor  # TensorRT keeps no reference of its own
            if phases.interrupted:
                raise KeyboardInterrupt


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
