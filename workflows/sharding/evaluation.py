"""Accuracy in parts: pictures are matched where they are predicted, and accumulated at the end.

Matching a picture's detections with its objects looks at that picture alone, so it is the map;
precision is read from one ranking over all pictures, so accumulating is the reduce. The numbers are
those of one process, to the last digit, wherever a picture gets the same instances.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...eval.coco.accuracy import KINDS, Accuracy, Kind, metric_of
from ...eval.coco.ap import match_instances, precision_of
from ...eval.coco.ar import RECALL_IOUS, match_proposals, recall_of
from ...eval.coco.data import CocoData
from ...eval.coco.predictions import predict_records, require_classes
from ...eval.coco.results import MatchTable
from ...eval.parity.hops import with_precision, with_recall
from ...runtime.closing import Closing
from ...runtime.contract import Contract, contract_from_json
from ...runtime.files import sha256_of
from ...runtime.sessions.open import ModelRef
from ..measure import Evaluation, lost_to_canvases, opened_to_measure
from ..open import model_ref
from .manifest import Manifest, Shard, read_manifest, require_same
from .one_shard import OnPicture, do_shard
from .parquet import PLACE, read_shards

MATCHES = pa.schema(
    [
        ("image_id", pa.int64()),
        ("kind", pa.string()),
        ("category", pa.int32()),
        ("area", pa.int8()),
        ("scores", pa.list_(pa.float64())),
        ("matched", pa.list_(pa.bool_())),
        ("ignored", pa.list_(pa.bool_())),
        ("objects_ignored", pa.list_(pa.bool_())),
    ]
)
"""A row for each `MatchTable`, its arrays row by row."""


class EvaluateWorker(Closing):
    """A model, opened once, that turns places of pictures into rows of `MATCHES`."""

    def __init__(self, model: ModelRef, data: CocoData) -> None:
        """Open the model; errors as `measured`, and InputError where its classes differ."""
        self._stack, self._data = contextlib.ExitStack(), data
        with contextlib.ExitStack() as opening:
            self.predictor, backend = opening.enter_context(opened_to_measure(model))
            require_classes(self.predictor, data)
            self._stack = opening.pop_all()
        contract = self.predictor.contract
        self.about = {
            "contract": contract.to_json(),
            "backend": backend,
            "canvases": [list(canvas) for canvas in self.predictor.canvases],
        }

    def __call__(self, places: pa.Table) -> pa.Table:
        """Match the pictures at these places (a column `PLACE`)."""
        records = [self._data.images[place] for place in places[PLACE].to_pylist()]
        found = predict_records(self.predictor, records)
        contract = self.predictor.contract
        if contract.task == "proposals":
            return rows_of(match_proposals(self._data, found))
        return rows_of(match_instances(self._data, found, contract.class_names))

    def close(self) -> None:
        """Close the model; a second call does nothing."""
        self._stack.close()


def evaluate_shard(
    model: str | Path | ModelRef,
    data: CocoData,
    shard: Shard,
    out: Path,
    on_progress: OnPicture | None = None,
) -> bool:
    """Measure one part of the pictures into `out`; False where that was done already.

    Raises:
        InputError: `out` holds another run, cannot be written, or as `evaluate`.
        SessionError: the model cannot run on this machine.
    """
    ref = model_ref(model)
    manifest = evaluation_manifest(ref, data, shard.count)
    names = [image.path.name for image in data.images]
    make = functools.partial(EvaluateWorker, ref, data)
    return do_shard(make, manifest, names, MATCHES, shard, out, on_progress)


def merge_evaluation(model: str | Path | ModelRef, data: CocoData, out: Path) -> Evaluation:
    """The accuracy that all parts in `out` have together; the model is not opened.

    Raises:
        InputError: parts are missing, or are of another model or other pictures.
    """
    ref = model_ref(model)
    manifest = evaluation_manifest(ref, data, read_manifest(out).shards)
    require_same(manifest, out)
    abouts, tables = zip(*read_shards(out, manifest), strict=True)
    contract = contract_from_json(abouts[0]["contract"], str(out))
    found: dict[Kind, list[MatchTable]] = {
        kind: [] for kind in (KINDS[:1] if contract.task == "detection" else KINDS)
    }
    for kind, table in itertools.chain.from_iterable(map(tables_of, tables)):
        found[kind].append(table)
    accuracy = Accuracy(
        name=ref.name,
        backend=", ".join(sorted({about["backend"] for about in abouts})),
        precision=contract.precision,
        sha256=manifest.model_sha256,
        images=len(data.images),
        box={},
        mask={},
        metric=metric_of(contract.task),
    )
    accuracy = _with_values(accuracy, contract, data, found)
    canvases = tuple((height, width) for height, width in abouts[0]["canvases"])
    return Evaluation((accuracy,), None, lost=lost_to_canvases(contract, canvases, data))


def evaluation_manifest(model: ModelRef, data: CocoData, shards: int) -> Manifest:
    """Of a run over `data`: pictures by id, and how much there is to find."""
    return Manifest(
        verb="eval",
        model_sha256=sha256_of(model.path),
        settings={
            "classes": dict(zip(map(str, data.category_ids), data.class_names, strict=True)),
            "objects": len(data.truth.anns),
        },
        shards=shards,
        pictures=tuple(f"{image.image_id} {image.path.name}" for image in data.images),
    )


def rows_of(tables: dict[Kind, list[MatchTable]]) -> pa.Table:
    """Rows of `MATCHES`."""
    pairs = [(kind, table) for kind, of in tables.items() for table in of]
    columns: dict[str, Any] = {
        "image_id": [table.image_id for _, table in pairs],
        "kind": [kind for kind, _ in pairs],
        "category": [table.category for _, table in pairs],
        "area": [table.area for _, table in pairs],
        "scores": [table.scores for _, table in pairs],
        "matched": [table.matched.ravel() for _, table in pairs],
        "ignored": [table.ignored.ravel() for _, table in pairs],
        "objects_ignored": [table.objects_ignored for _, table in pairs],
    }
    return pa.table(columns, schema=MATCHES)


def tables_of(rows: pa.Table) -> Iterator[tuple[Kind, MatchTable]]:
    """The tables behind rows of `MATCHES`, with their kind."""
    for batch in rows.to_batches():
        columns = [batch.column(name) for name in MATCHES.names]
        for image_id, kind, category, area, *lists in zip(*columns, strict=True):
            scores, matched, ignored, objects = (
                each.values.to_numpy(zero_copy_only=False) for each in lists
            )
            by_iou = (len(RECALL_IOUS), len(scores))
            yield (
                kind.as_py(),
                MatchTable(
                    image_id=image_id.as_py(),
                    category=category.as_py(),
                    area=area.as_py(),
                    scores=scores,
                    matched=matched.astype(np.bool_).reshape(by_iou),
                    ignored=ignored.astype(np.bool_).reshape(by_iou),
                    objects_ignored=objects.astype(np.bool_),
                ),
            )


def _with_values(
    accuracy: Accuracy,
    contract: Contract,
    data: CocoData,
    found: dict[Kind, list[MatchTable]],
) -> Accuracy:
    image_ids = [image.image_id for image in data.images]
    if contract.task == "proposals":
        return with_recall(accuracy, recall_of(image_ids, found))
    return with_precision(accuracy, precision_of(data, image_ids, found))
