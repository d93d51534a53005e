"""Which provider of ONNX Runtime got which nodes, and how many copies stand between them.

A graph whose nodes are split over providers with memories of their own gains `MemcpyToHost` and
`MemcpyFromHost` nodes, which cost more than many kernels. ONNX Runtime adds them after it has told
its placement, so they are counted in a run under its profiler, in a session of its own: the one
that is timed has no profiler.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.pictures.noise import noise_batch
from ...runtime.sessions.interface import Session
from ...runtime.sessions.ort_session import OrtSession
from ..report.table import Table
from .latency import BackendLatency

_NOTE = (
    "nodes: as assigned when the file was opened. Memcpy: nodes that copy between a device and the "
    "host. The first call, and what a provider builds or reads from its cache when it opens a "
    "file, is in no other figure."
)


@dataclass(frozen=True)
class Placement:
    """Where one opened file's nodes run."""

    nodes: dict[str, int]
    """By our name of the provider, e.g. {"cuda": 512, "cpu": 9}; empty before ONNX Runtime 1.24."""
    memcpy: int
    """Copy nodes between a device and the host in one run."""

    def __str__(self) -> str:
        """As a table shows it."""
        parts = ", ".join(f"{name} {count}" for name, count in self.nodes.items())
        return f"{sum(self.nodes.values())}: {parts}" if parts else "not told"


def placement_of(session: Session, path: Path) -> Placement | None:
    """The placement of `path`, opened as `session`; None where that is not ONNX Runtime.

    Raises:
        SessionError: the file cannot be opened again.
    """
    if not isinstance(session, OrtSession):
        return None
    nodes = session.placement()
    # with the CPU alone there is one memory, and nothing to copy to
    alone = session.provider == "cpu" or set(nodes) == {"cpu"}
    return Placement(nodes, 0 if alone else _memcpy_nodes(path, session.provider))


def _memcpy_nodes(path: Path, provider: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder, "ort")
        session = OrtSession(path, provider, profile_prefix=prefix)
        session.run(*noise_batch(session.contract))
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
        session.close()
    return memcpy_count(events)


def memcpy_count(events: Sequence[Mapping[str, Any]]) -> int:
    """Distinct copy nodes among the events of ONNX Runtime's profiler."""
    return len(
        {
            event["name"]
            for event in events
            if event.get("cat") == "Node" and _kind(event).startswith("Memcpy")
        }
    )


def _kind(event: Mapping[str, Any]) -> str:
    return str(event.get("args", {}).get("op_name", ""))


def placement_table(
    backends: Sequence[BackendLatency], placements: Mapping[str, Placement]
) -> Table:
    """One row per ONNX Runtime row; `placements` by the row's name."""
    return Table(
        title="Nodes by provider of ONNX Runtime",
        columns=("model", "backend", "nodes", "Memcpy", "first call ms"),
        rows=tuple(
            (
                backend.name,
                backend.backend,
                str(placements[backend.name]),
                str(placements[backend.name].memcpy),
                f"{backend.first_call_ms:.1f}",
            )
            for backend in backends
            if backend.name in placements
        ),
        notes=(_NOTE,),
    )
