"""The same parts by the workers of a Ray cluster: Ray Data's `map_batches` over one callable class.

Each worker opens the model once. A worker that is lost is started again and its pictures are given
to another, so that every picture comes back once. What comes back is put in the order of the
manifest, into one file: a run on Ray is a run of one shard.

maskrt has to be installed on every machine, and pictures and model be under the same paths there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...eval.coco.data import CocoData
from ...runtime.errors import InputError, SessionError, first_line
from ...runtime.sessions.open import ModelRef
from ..measure import Evaluation
from ..open import model_ref
from ..prediction import Written
from .evaluation import MATCHES, EvaluateWorker, evaluation_manifest, merge_evaluation
from .manifest import Manifest, Shard, agree, require_same
from .one_shard import OnPicture, Worker
from .parquet import PLACE, is_done, write_shard
from .picture_rows import PICTURES
from .prediction import Prediction, merge_predictions

PICTURES_AT_ONCE = 16
"""Given to a worker at a time, and done again where it is lost."""
ONLY = Shard(1, 1)
KNOCK_S = 10.0
"""How long a head node may take to answer at all."""


@dataclass(frozen=True)
class RayOptions:
    """Where the workers are, and what each of them takes."""

    address: str
    """"local" starts a cluster of this machine, "auto" finds the one it is part of; else a head
    node's, as "10.0.0.1:6379" or "ray://10.0.0.1:10001"."""
    workers: int = 1
    cpus: float = 1.0
    """Of each worker."""
    gpus: float = 0.0
    """Of each worker: 0.5 lets two share one."""

    def __post_init__(self) -> None:
        """Check the ranges; InputError names what is out of it."""
        if self.workers < 1 or self.cpus < 0 or self.gpus < 0:
            raise InputError(
                f"--ray {self.address}: {self.workers} workers of {self.cpus:g} CPUs and "
                f"{self.gpus:g} GPUs; expected 1 worker or more, and no less than nothing each. "
                "Correct it."
            )


def evaluate_on_ray(
    model: str | Path | ModelRef,
    data: CocoData,
    out: Path,
    options: RayOptions,
    on_progress: OnPicture | None = None,
) -> Evaluation:
    """Measure a model by the workers of a cluster; pictures that are in `out` are not done again.

    Raises:
        InputError: `out` holds another run, or as `evaluate`.
        SessionError: there is no such cluster, or a worker failed; its words are quoted.
    """
    ref = model_ref(model)
    manifest = evaluation_manifest(ref, data, ONLY.count)
    names = [image.path.name for image in data.images]
    make = functools.partial(EvaluateWorker, ref, data)
    _run(make, manifest, names, MATCHES, out, options, on_progress)
    return merge_evaluation(ref, data, out)


def predict_on_ray(
    plan: Prediction, options: RayOptions, on_progress: OnPicture | None = None
) -> Written:
    """Predict by the workers of a cluster, which write the overlays into the same folder.

    Raises:
        InputError: the folder holds another run, or as `merge_predictions`.
        SessionError: there is no such cluster, or a worker failed; its words are quoted.
    """
    manifest = plan.manifest(ONLY.count)
    _run(plan.worker, manifest, plan.names, PICTURES, plan.out, options, on_progress)
    return merge_predictions(plan)


def _run(
    make: Callable[[], Worker],
    manifest: Manifest,
    names: list[str],
    schema: pa.Schema,
    out: Path,
    options: RayOptions,
    on_progress: OnPicture | None,
) -> None:
    """Have the file of the only shard."""
    require_same(manifest, out)
    if is_done(out, ONLY, manifest):
        return
    with _cluster(options.address), contextlib.closing(_results(make, names, options)) as found:
        about, first, _ = next(found)
        agree(manifest, out)

        def tables() -> Iterator[pa.Table]:
            yield first
            for _, table, done in found:
                yield table
                if on_progress is not None:
                    on_progress(done / len(names), names[done - 1])

        write_shard(out, ONLY, manifest, schema, about, tables())


def _results(
    make: Callable[[], Worker], names: list[str], options: RayOptions
) -> Generator[tuple[dict[str, Any], pa.Table, int], None, None]:
    """How a batch was made, its rows, and how many pictures are done, in the pictures' order."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    blocks = -(-len(names) // PICTURES_AT_ONCE)
    places = ray.data.range(len(names), override_num_blocks=blocks)
    done = places.map_batches(
        _OnWorker,
        fn_constructor_args=(make,),
        batch_size=PICTURES_AT_ONCE,
        batch_format="numpy",
        concurrency=options.workers,
        num_cpus=options.cpus,
        num_gpus=options.gpus,
    )
    count = 0
    try:
        for row in done.iter_rows():
            count += row["pictures"]
            yield json.loads(row["about"]), pa.ipc.open_stream(row["rows"]).read_all(), count
    except ray.exceptions.RayError as err:
        raise SessionError(
            f"--ray {options.address}: a worker failed ({_last_line(err)}); expected it to finish "
            "its pictures. Try them without --ray."
        ) from err


class _OnWorker:
    """Lives in a worker's process: a batch of places to one row that holds its table."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, list[Any]]:
        table = self._worker(pa.table({PLACE: batch["id"]}))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return {
            "about": [json.dumps(self._worker.about)],
            "rows": [sink.getvalue().to_pybytes()],
            "pictures": [len(batch["id"])],
        }


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[None]:
    """A connection for as long as the block lasts, unless the caller had one already."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or a new cluster reports its use
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as err:
        raise SessionError(
            f"--ray {address}: no cluster ({first_line(err)}); expected local, auto or a head "
            "node's address. Start one with ray start --head, or correct it."
        ) from err
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError or ValueError where nobody listens: Ray itself would try for many minutes."""
    if address not in ("local", "auto"):
        parts = urlsplit(address if "://" in address else f"//{address}")
        with socket.create_connection((parts.hostname or "", parts.port or 0), KNOCK_S):
            pass


def _last_line(err: BaseException) -> str:
    """What went wrong on a worker: the end of the traceback that Ray quotes."""
    return str(err).strip().rpartition("\n")[2].strip()[:300] or type(err).__name__
