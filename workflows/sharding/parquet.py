"""What one part of a run found, as a Parquet file that is whole or absent.

Rows are written while the part runs, into a temporary file that is renamed at the end. A part whose
file is there is done: the command may be repeated, after a crash or by a scheduler, and does what
is missing. Metadata say of which run the file is, and how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...runtime.errors import InputError, first_line
from ...runtime.files import atomic_path, is_file
from .manifest import Manifest, Shard

FOLDER = "shards"
PLACE = "place"
"""Column: a picture's place in the manifest."""
RUN, ABOUT = b"maskrt.run", b"maskrt.about"
"""Keys of the metadata: the manifest's digest; how the part was made, as JSON."""
ROWS_TOGETHER = 4096
"""Of a row group: one a picture would make the file slow to read."""


def shard_path(out: Path, shard: Shard) -> Path:
    """Where a part's file is."""
    return out / FOLDER / f"{shard.number}-of-{shard.count}.parquet"


def is_done(out: Path, shard: Shard, manifest: Manifest) -> bool:
    """Whether a part's file is there.

    Raises:
        InputError: it is broken, or of another run.
    """
    path = shard_path(out, shard)
    if not is_file(path):
        return False
    _metadata(path, manifest)
    return True


def write_shard(
    out: Path,
    shard: Shard,
    manifest: Manifest,
    schema: pa.Schema,
    about: Mapping[str, Any],
    tables: Iterable[pa.Table],
) -> None:
    """Write a part's file out of tables as they come.

    Args:
        out: the run's folder.
        shard: which part.
        manifest: of the run.
        schema: of the tables.
        about: how the part is made, plain JSON.
        tables: its rows.

    Raises:
        InputError: it cannot be written; no file is there then.
    """
    metadata = {RUN: manifest.digest, ABOUT: json.dumps(about, sort_keys=True)}
    described = schema.with_metadata(metadata)
    with (
        atomic_path(shard_path(out, shard)) as temporary,
        pq.ParquetWriter(temporary, described, compression="zstd") as writer,
    ):
        for group in _groups(tables):
            writer.write_table(group.cast(described))


def read_shards(out: Path, manifest: Manifest) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """How each part was made and its rows, in order.

    Raises:
        InputError: parts are missing, or a file is broken or of another run.
    """
    shards = [Shard(number, manifest.shards) for number in range(1, manifest.shards + 1)]
    missing = [shard.number for shard in shards if not is_file(shard_path(out, shard))]
    if missing:
        some = ", ".join(map(str, missing[:10])) + (" ..." if missing[10:] else "")
        raise InputError(
            f"{out / FOLDER}: {len(missing)} of {manifest.shards} shards missing ({some}); "
            f"expected all of them. Run --shard {missing[0]}/{manifest.shards} and the others."
        )
    for shard in shards:
        path = shard_path(out, shard)
        about = _metadata(path, manifest)
        yield about, pq.read_table(path, memory_map=True)


def _metadata(path: Path, manifest: Manifest) -> dict[str, Any]:
    try:
        metadata = pq.read_schema(path).metadata or {}
        about: dict[str, Any] = json.loads(metadata[ABOUT])
    except (OSError, ValueError, KeyError) as err:
        raise InputError(
            f"{path}: not a shard ({first_line(err)}); expected one as --shard writes it. Remove "
            "it and run its shard again."
        ) from err
    if metadata[RUN].decode() != manifest.digest:
        raise InputError(
            f"{path}: a shard of another run; expected one of the manifest beside it. Remove it "
            "and run its shard again."
        )
    return about


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= ROWS_TOGETHER:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
