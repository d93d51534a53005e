"""Prediction in parts: each writes the overlays and a Parquet file of its pictures.

    OUT/<name>.jpg ...           overlays, as `predict` names them
    OUT/shards/2-of-4.parquet    a row for each picture and frame, its instances as lists
    OUT/results.json             of all, put together at the end: byte for byte that of one process

A video is one part's; frames are rows of their own. A row of a broken source, or of an overlay that
could not be written, has the sentence in `broken` and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from ...runtime.contract import Contract, contract_from_json
from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ...runtime.pictures.camera import Camera
from ...runtime.pictures.canvases import CanvasLosses
from ...runtime.sessions.open import ModelRef
from ..open import model_ref
from ..predicting.overlays import Job, plan_overlays
from ..predicting.results_file import ResultsFile
from ..predicting.run import categories_of
from ..predicting.wanted import Wanted
from ..prediction import RESULTS_FILE, Written, all_broken, media_of
from ..shipped import what_it_knows
from .manifest import FILE, Manifest, Shard, read_manifest, require_same
from .merged_pictures import Merged, in_order
from .one_shard import OnPicture, do_shard
from .parquet import FOLDER, read_shards
from .picture_rows import PICTURES, PredictWorker


@dataclass(frozen=True)
class Prediction:
    """What all parts of a run are given."""

    model: ModelRef
    jobs: list[Job]
    wanted: Wanted
    frames: int | None
    out: Path
    skipped: dict[str, int]

    @property
    def names(self) -> list[str]:
        """Of its sources, by place."""
        return [job.path.name for job in self.jobs]

    def manifest(self, shards: int) -> Manifest:
        """Of a run in so many parts."""
        return Manifest(
            verb="predict",
            model_sha256=sha256_of(self.model.path),
            settings=json.loads(json.dumps(asdict(self.wanted) | {"frames": self.frames})),
            shards=shards,
            pictures=tuple(str(job.path) for job in self.jobs),
        )

    def worker(self) -> PredictWorker:
        """One that works on it; errors as `PredictWorker`."""
        return PredictWorker(self.model, self.jobs, self.wanted, self.frames)


def plan_prediction(
    model: str | Path | ModelRef,
    sources: Sequence[str | Path],
    out: Path,
    wanted: Wanted,
    frames: int | None = None,
) -> Prediction:
    """What is to be done; arguments as `predict_sources`.

    Raises:
        InputError: as `predict_sources`, or a source is a camera or has a name that is no text.
    """
    media, skipped = media_of(sources)
    for source in media:
        if isinstance(source, Camera) or not _is_text(str(source)):
            what = "a camera" if isinstance(source, Camera) else "a name that is no text"
            raise InputError(
                f"{str(source)!r}: {what}; expected files that every part can name. Predict it "
                "without --shard and --ray."
            )
    jobs = plan_overlays(media, out)
    return Prediction(model_ref(model), jobs, wanted, frames, out, skipped)


def predict_shard(plan: Prediction, shard: Shard, on_progress: OnPicture | None = None) -> bool:
    """Predict one part of the sources; False where that was done already.

    Raises:
        InputError: the folder holds another run or cannot be written; a broken source is reported
            by `merge_predictions`.
        SessionError: the model cannot run on this machine.
    """
    manifest = plan.manifest(shard.count)
    return do_shard(plan.worker, manifest, plan.names, PICTURES, shard, plan.out, on_progress)


def merge_predictions(plan: Prediction) -> Written:
    """Put all parts together as `results.json`; no model is opened.

    Raises:
        InputError: parts are missing or of another run, the file cannot be written, or all sources
            are broken.
    """
    manifest = plan.manifest(read_manifest(plan.out).shards)
    require_same(manifest, plan.out)
    abouts, tables = zip(*read_shards(plan.out, manifest), strict=True)
    contract = contract_from_json(abouts[0]["contract"], str(plan.out))
    canvases = tuple((height, width) for height, width in abouts[0]["canvases"])
    merged = Merged(contract, plan.wanted.of(contract), CanvasLosses(contract.resize, canvases))
    with ResultsFile(plan.out / RESULTS_FILE) as results:
        for row in in_order(pa.concat_tables(tables)):
            merged.add(row, results)
        if not results.pictures:
            raise all_broken(merged.broken)
        results.write(categories_of(contract), ())
        return _written(plan, contract, merged, results)


def _written(plan: Prediction, contract: Contract, merged: Merged, results: ResultsFile) -> Written:
    """As `predict_sources` tells it."""
    own = {job.overlay.name for job in plan.jobs} | {RESULTS_FILE, FILE, FOLDER}
    return Written(
        pictures=results.pictures,
        instances=merged.drawn,
        results=str(results.path),
        broken=tuple(merged.broken),
        skipped=plan.skipped,
        others=sum(p.name not in own and p.name[0] != "." for p in plan.out.iterdir()),
        lost=merged.losses.sentence,
        origin=contract.origin,
        knows=what_it_knows(contract),
        best=merged.best,
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return True
