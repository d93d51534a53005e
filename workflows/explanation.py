"""Why two artefacts differ: what moved most, in pictures of both, and where their graphs part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import MaskRTError

if TYPE_CHECKING:
    from ..eval import CocoData, Measurement, Table
    from ..eval.parity.moved import Moved

PICTURES = 5
"""That hold the instances that moved most."""
LISTED = 100


@dataclass(frozen=True)
class Explanation:
    """What differs between two artefacts."""

    moved: tuple[Moved, ...]
    """The farthest first, at most `LISTED`."""
    pictures: tuple[str, ...]
    """Paths of overlays, the reference's at the left."""
    graphs: str
    """Where the graphs part, or why that is unknown, in a sentence."""
    table: Table
    """For people."""


def explain(
    reference: Measurement,
    candidate: Measurement,
    paths: tuple[Path, Path],
    data: CocoData,
    out: Path,
) -> Explanation:
    """Find what moved most between two measured artefacts and draw it.

    Args:
        reference: the one believed right.
        candidate: the other, measured on the same pictures.
        paths: their files.
        data: the pictures.
        out: folder for the overlays, made when it is not there.

    Raises:
        InputError: `out` cannot be written, or a picture cannot be read.
    """
    from ..eval.parity.moved import most_moved, moved_table, pictures_of

    class_names = candidate.contract.class_names
    moved = most_moved(reference.predictions, candidate.predictions, class_names)
    shown = pictures_of(moved, PICTURES)
    names = {record.image_id: record.path.name for record in data.images}
    return Explanation(
        moved=tuple(moved[:LISTED]),
        pictures=_drawn(reference, candidate, data, shown, out),
        graphs=_graphs(paths, data, shown),
        table=moved_table(moved, names),
    )


def _drawn(
    reference: Measurement,
    candidate: Measurement,
    data: CocoData,
    image_ids: Sequence[int],
    out: Path,
) -> tuple[str, ...]:
    from ..eval.report.compared import compared_picture
    from ..runtime.results.drawing import write_picture

    out.mkdir(parents=True, exist_ok=True)
    sides = (reference, candidate)
    names = reference.accuracy.name, candidate.accuracy.name
    places = {record.image_id: place for place, record in enumerate(data.images)}
    written = []
    for rank, image_id in enumerate(image_ids, 1):
        place = places[image_id]
        record = data.images[place]
        found = [side.predictions[place] for side in sides]
        path = out / f"{rank}-{record.path.stem}.jpg"
        write_picture(path, compared_picture(record, found, names, candidate.contract.class_names))
        written.append(str(path))
    return tuple(written)


def _graphs(paths: tuple[Path, Path], data: CocoData, image_ids: Sequence[int]) -> str:
    """On the picture that moved most, or the first one."""
    other = [path.name for path in paths if path.suffix.lower() != ".onnx"]
    if other:
        return f"first tensor that differs: unknown, {other[0]} is no ONNX file"
    from ..eval import read_record
    from ..export.first_difference import first_difference

    records = {record.image_id: record for record in data.images}
    record = records[image_ids[0]] if image_ids else data.images[0]
    try:
        return str(first_difference(*paths, read_record(record)))
    except MaskRTError as err:
        return f"first tensor that differs: unknown. {err}"
