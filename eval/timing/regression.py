"""A bench against the JSON of an earlier one: whether the same file became slower.

Rows are matched by name and SHA-256, so only equal bytes in an equally named session are compared:
what changed is this project, a library, or the machine. Raw samples of both runs give the interval
of each ratio; a scope fails when all of its interval lies above what is allowed. Where a run has
too few turns for an interval nothing is decided, and the table says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError, first_line
from ..report.table import Table
from .bootstrap import MIN_TURNS, Ratio, change_ratio
from .latency import SCOPES, BackendLatency, Bench

Array = npt.NDArray[np.float64]
Key = tuple[str, str]
"""Name and SHA-256 of an artefact."""

ALLOWED = 1.05
SHORTEST_MS, LONGEST_MS = 1e-6, 1e9
"""What a recorded sample can be: a nanosecond to eleven days."""
_NOTE = (
    "ratio: median now over median then, with its 95 % interval from the raw samples of both. "
    "FAILED where all of it lies above {allowed:g}."
)
_TOO_FEW = (
    "Undecided: {missing} of the {needed} turns that a verdict needs are missing in this run or in "
    "the earlier one. Ask for more --samples or --seconds in both."
)
_MACHINE = ("cpu", "cores", "os", "python", "gpus", "driver")
_ADVICE = "Name the .json that 'maskrt bench --html' wrote, or a saved 'bench --json' line."


@dataclass(frozen=True)
class Earlier:
    """What an earlier bench measured."""

    path: Path
    samples_ms: dict[Key, dict[str, Array]]
    """By artefact, then by scope, (T, n)."""
    environment: dict[str, Any]
    """Empty where the file says nothing about it."""


@dataclass(frozen=True)
class Change:
    """One scope of one row, then and now."""

    name: str
    backend: str
    scope: str
    earlier_p50_ms: float
    p50_ms: float
    ratio: Ratio
    """Median now over median then: above 1 is slower."""
    failed: bool
    """Slower than allowed for certain; never where turns are missing."""


@dataclass(frozen=True)
class Regression:
    """All that could be compared, and what stands in the way of trusting it."""

    DERIVED: ClassVar = ("failed", "turns_missing")

    against: str
    allowed: float
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]
    """Rows of this run that the earlier one does not have."""
    environment_change: str
    """A sentence; "" where machine and versions are the same."""

    @property
    def failed(self) -> bool:
        """Whether any scope became slower than allowed, for certain."""
        return any(change.failed for change in self.changes)

    @property
    def turns_missing(self) -> int:
        """How many more turns a verdict needs; 0 where every scope has one."""
        return max((change.ratio.turns_missing for change in self.changes), default=0)


def read_earlier(path: Path) -> Earlier:
    """Read the JSON of an earlier bench: the one beside its report, or the line of `--json`.

    Raises:
        InputError: no such file, not a plain one, not JSON, or not a bench's.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: not a file; expected the JSON of a bench. {_ADVICE}")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InputError(
            f"{path}: {err.strerror or err}; expected the JSON of a bench. {_ADVICE}"
        ) from err
    except (ValueError, RecursionError) as err:
        raise InputError(
            f"{path}: not JSON ({first_line(err)}); expected that of a bench. {_ADVICE}"
        ) from err
    try:
        run = raw.get("latency", raw)
        samples_ms = dict(_row_of(row) for row in run["backends"])
        environment = _environment(raw.get("environment") or {})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as err:
        raise InputError(
            f"{path}: JSON of another kind ({type(err).__name__}: {first_line(err)}); expected a "
            f"bench's 'backends' with their raw samples. {_ADVICE}"
        ) from err
    return Earlier(path, samples_ms, environment)


def _row_of(row: Mapping[str, Any]) -> tuple[Key, dict[str, Array]]:
    name, sha256 = row["name"], row["sha256"]
    if not isinstance(name, str) or not isinstance(sha256, str):
        raise TypeError(f"name {name!r} and sha256 {sha256!r} are not both text")
    samples_ms = {s: np.array(v, np.float64) for s, v in row["samples_ms"].items() if s in SCOPES}
    for scope, values in samples_ms.items():
        shortest, longest = float(values.min(initial=np.inf)), float(values.max(initial=0.0))
        if values.ndim != 2 or not SHORTEST_MS <= shortest <= longest <= LONGEST_MS:
            raise ValueError(
                f"samples of {name}, {scope}, have shape {values.shape} and lie from {shortest:g} "
                f"to {longest:g} ms"
            )
    return (name, sha256), samples_ms


def _environment(found: Any) -> dict[str, Any]:
    """As `environment()` writes it, as far as it is compared."""
    if not isinstance(found, dict) or not isinstance(found.get("versions", {}), dict):
        raise TypeError("its environment, or the versions in it, are not named values")
    return found


def require_match(earlier: Earlier, keys: Iterable[Key]) -> None:
    """Check before the long run that at least one of `keys` can be compared.

    Raises:
        InputError: none can.
    """
    if set(keys) & set(earlier.samples_ms):
        return
    held = ", ".join(f"{name} ({sha256[:12]})" for name, sha256 in earlier.samples_ms)
    raise InputError(
        f"{earlier.path}: none of the models is in it with the same name and bytes; expected one "
        f"of {held or 'no model'}. Bench the same files in the same sessions."
    )


def compare_runs(
    earlier: Earlier, result: Bench, environment: Mapping[str, Any], allowed: float = ALLOWED
) -> Regression:
    """Compare every scope that both runs have.

    Args:
        earlier: from `read_earlier`.
        result: this run.
        environment: of this run, from `environment()`.
        allowed: a scope fails when its ratio's whole interval lies above this.
    """
    changes: list[Change] = []
    unmatched: list[str] = []
    for backend in result.backends:
        then = earlier.samples_ms.get((backend.name, backend.sha256))
        if then is None:
            unmatched.append(backend.name)
            continue
        scopes = [scope for scope in SCOPES if scope in then and scope in backend.samples_ms]
        changes += [
            _change(backend, scope, then[scope], allowed, result.options.seed) for scope in scopes
        ]
    return Regression(
        against=str(earlier.path),
        allowed=allowed,
        changes=tuple(changes),
        unmatched=tuple(unmatched),
        environment_change=environment_change(earlier.environment, environment),
    )


def _change(
    backend: BackendLatency, scope: str, then_ms: Array, allowed: float, seed: int
) -> Change:
    ratio = change_ratio(then_ms, backend.samples_ms[scope], seed)
    return Change(
        name=backend.name,
        backend=backend.backend,
        scope=scope,
        earlier_p50_ms=float(np.median(then_ms)),
        p50_ms=backend.summaries[scope].p50_ms,
        ratio=ratio,
        failed=ratio.low is not None and ratio.low > allowed,
    )


def environment_change(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of machine and software differs, as one sentence; "" when nothing does."""
    if not earlier:
        return "The earlier file does not say on which machine and software it was measured."
    pairs = {name: (earlier.get(name), now.get(name)) for name in _MACHINE}
    before, after = earlier.get("versions", {}), now.get("versions", {})
    pairs |= {name: (before.get(name), after.get(name)) for name in sorted({*before, *after})}
    changed = [f"{name} {_shown(a)} → {_shown(b)}" for name, (a, b) in pairs.items() if a != b]
    return f"Machine or software changed: {'; '.join(changed)}." if changed else ""


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def regression_table(regression: Regression) -> Table:
    """One row per compared scope."""
    notes = [_NOTE.format(allowed=regression.allowed)]
    if regression.turns_missing:
        notes.append(_TOO_FEW.format(missing=regression.turns_missing, needed=MIN_TURNS))
    if regression.unmatched:
        names = ", ".join(regression.unmatched)
        notes.append(f"Not in the earlier run with the same name and bytes: {names}.")
    if regression.environment_change:
        notes.append(regression.environment_change)
    return Table(
        title=f"Against {regression.against}",
        columns=("model", "backend", "scope", "then ms", "now ms", "ratio", "verdict"),
        rows=tuple(_row(change) for change in regression.changes),
        notes=tuple(notes),
    )


def _row(change: Change) -> tuple[str, ...]:
    decided = "FAILED" if change.failed else "passed"
    return (
        change.name,
        change.backend,
        change.scope,
        f"{change.earlier_p50_ms:.2f}",
        f"{change.p50_ms:.2f}",
        change.ratio.text(3),
        "undecided" if change.ratio.turns_missing else decided,
    )
