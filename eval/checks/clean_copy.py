"""`maskrt data check --fix`: what is good of a part as COCO JSON beside its file.

Pictures that are missing or of another size go with their objects, as do objects that cannot be
read, lie outside, have no area or are there twice. Boxes that are apart from their masks are made
from the masks again, areas are counted where there is none, ids become numbers.
"""

from __future__ import annotations

import json
import os.path
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...runtime.files import write_text
from ..coco.annotations import Annotation
from ..datasets.json_kinds import CLEAN
from .parts import ReadPart
from .suspects import mask_box

_REMOVED = ("no area", "outside", "twice", "no pixel")
_REBOXED = ("two corners", "box apart")


def write_clean_copy(part: ReadPart) -> Path:
    """Write it; returns its path: the JSON's with another end, or in the folder for other layouts.

    Raises:
        InputError: it cannot be written.
    """
    single = part.file.suffix == ".json"
    path = part.file.with_suffix(CLEAN) if single else part.folder / f"{part.name}{CLEAN}"
    write_text(path, json.dumps(_clean(part), ensure_ascii=False) + "\n")
    return path


def _clean(part: ReadPart) -> dict[str, Any]:
    removed = {place for kind in _REMOVED for place in part.suspects.get(kind, ())}
    reboxed = {place for kind in _REBOXED for place in part.suspects.get(kind, ())}
    kept = [
        _rebox(annotation) if place in reboxed else annotation
        for place, (_, annotation) in enumerate(part.objects)
        if place not in removed and annotation.image_id not in part.broken
    ]
    return {
        "images": [
            {
                "id": image_id,
                "file_name": Path(os.path.relpath(image.path, part.folder)).as_posix(),
                "height": image.image_hw[0],
                "width": image.image_hw[1],
            }
            for image_id, image in part.images.items()
            if image_id not in part.broken
        ],
        "annotations": [_row(number, annotation) for number, annotation in enumerate(kept, 1)],
        "categories": [{"id": number, "name": name} for number, name in part.categories.items()],
    }


def _rebox(annotation: Annotation) -> Annotation:
    x0, y0, x1, y1 = mask_box(annotation)
    return replace(annotation, bbox=(x0, y0, x1 - x0, y1 - y0))


def _row(number: int, annotation: Annotation) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": [*annotation.bbox],
        "area": annotation.area,
        "iscrowd": int(annotation.iscrowd),
        "segmentation": annotation.segmentation,
    }
