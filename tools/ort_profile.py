"""Where ONNX Runtime spends a run: its own profiler's node times by operator and by node.

    python -m maskrt.tools.ort_profile MODEL.onnx [--runs 5] [--rows 12]

Prints a table of operator kinds and of the slowest single nodes, then one JSON object as the last
line. The profiler itself costs a little: use `maskrt bench` for latencies and this for shares.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..runtime.pictures.noise import noise_batch
from ..runtime.sessions.ort_session import OrtSession


@dataclass(frozen=True)
class Share:
    """One operator kind or node: milliseconds per run and share of all nodes' time."""

    name: str
    ms: float
    share: float


def profile(path: Path, runs: int = 5) -> tuple[list[Share], list[Share]]:
    """Time `runs` runs after one warm-up on fixed noise.

    Returns:
        Shares by operator kind and by node, slowest first.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = OrtSession(path, profile_prefix=Path(folder) / "ort")
        images, sizes = noise_batch(session.contract)
        for _ in range(runs + 1):
            session.run(images, sizes)
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    return shares(events, runs)


def shares(events: list[dict[str, Any]], runs: int) -> tuple[list[Share], list[Share]]:
    """Kernel times by operator kind and by node, the first (warm-up) of every node left out."""
    kinds: dict[str, float] = defaultdict(float)
    nodes: dict[str, float] = defaultdict(float)
    seen: set[str] = set()
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name, kind = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
        if name not in seen:
            seen.add(name)
            continue
        kinds[kind] += event["dur"] / 1e3 / runs
        nodes[f"{kind} {name}"] += event["dur"] / 1e3 / runs
    return _sorted(kinds), _sorted(nodes)


def _sorted(times_ms: dict[str, float]) -> list[Share]:
    total = sum(times_ms.values()) or 1.0
    ordered = sorted(times_ms.items(), key=lambda item: -item[1])
    return [Share(name, ms, ms / total) for name, ms in ordered]


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables and the JSON line."""
    parser = argparse.ArgumentParser(description="ONNX Runtime time by operator")
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=12)
    arguments = parser.parse_args(argv)
    kinds, nodes = profile(arguments.model, arguments.runs)
    for title, rows in (("operator", kinds), ("node", nodes)):
        print(f"{title:60} {'ms':>9} {'share':>6}")
        for share in rows[: arguments.rows]:
            print(f"{share.name[:60]:60} {share.ms:9.2f} {share.share:6.1%}")
    printed = {"kinds": kinds[: arguments.rows], "nodes": nodes[: arguments.rows]}
    print(json.dumps({k: [asdict(s) for s in v] for k, v in printed.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
