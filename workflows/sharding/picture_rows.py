"""What a part keeps of its pictures, as rows, and the worker that makes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from ...runtime.closing import Closing
from ...runtime.sessions.open import ModelRef
from ..open import open_model
from ..predicting.overlays import Job
from ..predicting.results_file import Row
from ..predicting.run import Asked, Progress, Run
from ..predicting.wanted import Wanted
from .parquet import PLACE

PICTURES = pa.schema(
    [
        (PLACE, pa.int64()),
        ("file_name", pa.string()),
        ("overlay", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("frame", pa.int64()),
        ("category_id", pa.list_(pa.int64())),
        ("score", pa.list_(pa.float64())),
        ("bbox", pa.list_(pa.list_(pa.float64(), 4))),
        ("counts", pa.list_(pa.string())),
        ("broken", pa.string()),
    ]
)
"""`bbox` is xywh, `counts` are COCO's compressed run lengths, null of a network without masks."""


class PredictWorker(Closing):
    """A model, opened once, that turns places of sources into rows of `PICTURES`."""

    def __init__(
        self, model: ModelRef, jobs: Sequence[Job], wanted: Wanted, frames: int | None
    ) -> None:
        """Open the model; errors as `load`, and InputError where `wanted` does not fit it."""
        self._jobs, self._frames = jobs, frames
        with contextlib.ExitStack() as opening:
            self.predictor = opening.enter_context(open_model(model))
            contract = self.predictor.contract
            wanted.check(contract)
            opening.pop_all()
        self._asked = Asked(self.predictor, wanted.of(contract))
        self.about = {
            "contract": contract.to_json(),
            "canvases": [list(canvas) for canvas in self.predictor.canvases],
        }

    def __call__(self, places: pa.Table) -> pa.Table:
        """Predict the sources at these places (a column `PLACE`)."""
        jobs = {self._jobs[place].overlay.name: place for place in places[PLACE].to_pylist()}
        rows = _Rows(jobs)
        run = Run(self._asked, None, self._frames, Progress(None, len(jobs)), rows)
        run.all([self._jobs[place] for place in jobs.values()])
        for row in rows.found:
            if row["overlay"] in run.no_overlay:
                row["overlay"] = None
        broken = [{PLACE: max(jobs.values()), "broken": str(err)} for err in run.broken]
        return pa.Table.from_pylist(rows.found + broken, schema=PICTURES)

    def close(self) -> None:
        """Close the model; a second call does nothing."""
        self.predictor.close()


class _Rows:
    """Takes what `Run` finds."""

    def __init__(self, places: dict[str, int]) -> None:
        self.found: list[dict[str, Any]] = []
        self._places = places

    @property
    def pictures(self) -> int:
        return len(self.found)

    def add(self, image: Row, rows: Iterable[Row]) -> None:
        rows = list(rows)
        masks = [row["segmentation"]["counts"] for row in rows if "segmentation" in row]
        self.found.append(
            {
                PLACE: self._places[image["overlay"]],
                **image,
                "category_id": [row["category_id"] for row in rows],
                "score": [row["score"] for row in rows],
                "bbox": [row["bbox"] for row in rows],
                "counts": masks if masks or not rows else None,
            }
        )

    def mark(self) -> Callable[[], None]:
        count = len(self.found)

        def take_back() -> None:
            del self.found[count:]

        return take_back
