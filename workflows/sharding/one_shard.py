"""One part of a run, done by this process and kept once it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from ...runtime.predictor import Predictor
from .manifest import Manifest, Shard, agree, require_same
from .parquet import PLACE, is_done, write_shard

OnPicture = Callable[[float, str], None]
"""Told the share of the part that is done, 0 to 1, and a picture of it."""


class Worker(Protocol):
    """What a part is done by."""

    about: dict[str, Any]
    predictor: Predictor

    def __call__(self, places: pa.Table) -> pa.Table:
        """Rows of the pictures at these places."""
        ...

    def close(self) -> None:
        """Close the model."""
        ...


def do_shard(
    make: Callable[[], Worker],
    manifest: Manifest,
    names: Sequence[str],
    schema: pa.Schema,
    shard: Shard,
    out: Path,
    on_progress: OnPicture | None,
) -> bool:
    """Have one part of a run in `out`; False where it was done already.

    Args:
        make: opens the model.
        manifest: of the run.
        names: of all its pictures, by place.
        schema: of the part's file.
        shard: the part.
        out: folder of the run.
        on_progress: called after every batch.

    Raises:
        InputError: `out` holds another run or cannot be written.
    """
    require_same(manifest, out)
    if is_done(out, shard, manifest):
        return False
    with contextlib.closing(make()) as worker:
        agree(manifest, out)
        tables = _tables(worker, shard.places(len(names)), names, on_progress)
        write_shard(out, shard, manifest, schema, worker.about, tables)
    return True


def _tables(
    worker: Worker, places: range, names: Sequence[str], on_progress: OnPicture | None
) -> Iterator[pa.Table]:
    at_once = worker.predictor.at_once
    for start in range(0, len(places), at_once):
        some = places[start : start + at_once]
        yield worker(pa.table({PLACE: list(some)}))
        if on_progress is not None:
            on_progress((start + len(some)) / len(places), names[some[-1]])
