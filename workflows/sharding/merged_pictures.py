"""Rows of all parts as the results of one process, and what that would have counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from ...runtime.contract import Contract
from ...runtime.pictures.canvases import CanvasLosses
from ...runtime.results.instances import Instances
from ..predicting.results_file import ResultsFile
from ..predicting.wanted import Wanted
from .parquet import PLACE

TOGETHER = 1000
"""Rows in memory at a time."""


class Merged:
    """What one process would have counted, row by row."""

    def __init__(self, contract: Contract, wanted: Wanted, losses: CanvasLosses) -> None:
        """Nothing is counted yet; `wanted` is the network's own."""
        self.drawn = 0
        self.best: float | None = None
        self.broken: list[str] = []
        self.losses = losses
        self._contract, self._wanted = contract, wanted
        ids = contract.category_ids or range(1, len(contract.class_names) + 1)
        self._labels = {category_id: label for label, category_id in enumerate(ids)}

    def add(self, row: dict[str, Any], results: ResultsFile) -> None:
        """Take one row of `PICTURES`."""
        if row["broken"] is not None:
            self.broken.append(row["broken"])
            return
        hw = row["height"], row["width"]
        self.losses.add(hw)
        image = {name: row[name] for name in ("file_name", "overlay", "height", "width")}
        if row["frame"] is not None:
            image["frame"] = row["frame"]
        results.add(image, _coco_rows(row, results.pictures + 1))
        self._count(hw, row)

    def _count(self, hw: tuple[int, int], row: dict[str, Any]) -> None:
        scores = np.asarray(row["score"], np.float32)
        if not len(scores):
            return
        found = Instances(
            image_hw=hw,
            boxes=np.zeros((len(scores), 4), np.float32),
            scores=scores,
            labels=np.asarray([self._labels[i] for i in row["category_id"]], np.int32),
            mask_probs=None,
            class_names=self._contract.class_names,
        )
        self.drawn += len(self._wanted.drawn(found))
        self.best = max(self.best or 0.0, float(scores.max()))


def _coco_rows(row: dict[str, Any], image_id: int) -> Iterator[dict[str, Any]]:
    """The instances of a row of `PICTURES` as `Instances.to_coco` gave them."""
    size = [row["height"], row["width"]]
    counts = row["counts"] or [None] * len(row["score"])
    found = zip(row["category_id"], row["bbox"], row["score"], counts, strict=True)
    for category_id, bbox, score, mask in found:
        instance = {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}
        if mask is not None:
            instance["segmentation"] = {"size": size, "counts": mask}
        yield instance


def in_order(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """By source and frame, a batch in memory at a time."""
    places = compute.sort_indices(rows, [(PLACE, "ascending"), ("frame", "ascending")])
    for start in range(0, len(places), TOGETHER):
        yield from rows.take(places[start : start + TOGETHER]).to_pylist()
