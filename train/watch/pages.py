"""A run's pages: `samples.html`, which grows as it trains, and `report.html` at its end.

They need the extra `report`; without it a run says so in a line and trains on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ...eval import (
    CocoData,
    Measurement,
    Report,
    environment,
    example_pictures,
    require_report,
    write_report,
)
from ...eval.report.page import Figure
from ...eval.report.pictures import Picture, given_picture
from ...eval.report.samples import evaluation_section, samples_page, without_later
from ...runtime.errors import InputError
from ...runtime.files import write_error, write_text
from ..data.batches import Batch
from ..run_folder import LOG, REPORT, SAMPLES

DRAWN = 16
"""Training pictures on the page, of the first batches."""
PAIRS = 4
"""Predictions of each evaluation."""
_NOTE = (
    "Pictures of the first batches as the network gets them, mirrored, scaled, cropped, pasted "
    "over and recoloured as the recipe says, with the masks and boxes that it learns from."
)


class Pages:
    """The pages in one run's folder; none of them where `missing` says what is not installed."""

    def __init__(self, out: Path, name: str) -> None:
        self._out, self._name = out, name
        self.missing = ""
        try:
            require_report()
        except InputError as err:
            self.missing = f"no {SAMPLES} and no {REPORT}: {err}"

    def begin(self, batches: Iterable[Batch], class_names: Sequence[str]) -> None:
        """Draw what the first steps will see."""
        samples = _samples(batches, class_names)
        drawn = [sample for _, sample in zip(range(DRAWN), samples, strict=False)]
        write_text(self._out / SAMPLES, samples_page(f"Samples of {self._name}", _NOTE, drawn))

    def go_on(self, step: int) -> None:
        """Drop what a run that was cut off had added after `step`."""
        path = self._out / SAMPLES
        if path.exists():
            write_text(path, without_later(path.read_text(encoding="utf-8"), step))

    def evaluated(self, step: int, sentence: str, measurement: Measurement, data: CocoData) -> None:
        """Add some predictions to the samples."""
        pictures = example_pictures(
            data, measurement.predictions, measurement.contract.class_names, PAIRS
        )
        path = self._out / SAMPLES
        try:
            with path.open("a", encoding="utf-8") as page:
                page.write(evaluation_section(step, sentence, pictures))
        except OSError as err:
            raise write_error(path, err) from err

    def finish(
        self,
        sentences: Sequence[str],
        measurement: Measurement,
        data: CocoData,
        rows: Mapping[int, Mapping[str, float]],
        best: int | None,
    ) -> None:
        """Write the report of the whole run; `rows` are the evaluations."""
        names = measurement.contract.class_names
        report = Report(
            title=f"Training of {self._name}",
            dataset=f"{len(data.images)} pictures of {data.folder}, {data.split} split.",
            environment=environment(),
            summary=tuple(sentences),
            accuracy=(measurement.accuracy,),
            details={"evaluations": [{"step": step, **row} for step, row in rows.items()]},
            figures=tuple(_figures(self._out / LOG, rows, best)),
            pictures=example_pictures(data, measurement.predictions, names),
        )
        write_report(report, self._out / REPORT)


def _samples(batches: Iterable[Batch], class_names: Sequence[str]) -> Iterator[Picture]:
    for batch in batches:
        sizes = batch.image_sizes.tolist()
        for place, (height, width) in enumerate(sizes):
            yield given_picture(
                f"picture {batch.image_ids[place]}",
                batch.images[place, :height, :width].numpy(),
                batch.boxes[place].numpy(),
                batch.masks[place].numpy(),
                batch.labels[place].tolist(),
                class_names,
            )


def _figures(
    log: Path, rows: Mapping[int, Mapping[str, float]], best: int | None
) -> Iterator[Figure]:
    from ...eval.report.training_plots import accuracy_plot, losses_plot

    with log.open(newline="", encoding="utf-8") as stream:
        logged = list(csv.DictReader(stream))
    names = [name for name in logged[0] if name not in ("step", "lr")] if logged else []
    if len(logged) > 1:
        steps = [int(row["step"]) for row in logged]
        losses = {name: [float(row[name]) for row in logged] for name in names}
        yield Figure("Losses", losses_plot(steps, losses))
    if best is not None and len(rows) > 1:
        yield Figure("Accuracy on the val split", accuracy_plot(rows, best))
