"""Which tool a JSON file is from, told by its keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

JsonKind = Literal["coco", "labelme", "via", "label studio", "list", "broken", "other"]

CLEAN = ".clean.json"
"""How the copies end that `maskrt data check --fix` writes, which are no layout's own."""

KIND_WORDS: dict[JsonKind, str] = {
    "coco": "COCO annotations",
    "labelme": "a picture's labels by labelme",
    "via": "a project of VIA, which exports COCO's format",
    "label studio": "tasks of Label Studio, which exports COCO's format",
    "list": "a list, as predictions are",
    "broken": "no whole JSON",
    "other": "other JSON",
}
"""As a sentence says them."""


def json_kind(path: Path) -> JsonKind:
    """What `path` holds; it is read whole."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return "broken"
    if isinstance(raw, list):
        task = raw[0] if raw else None
        is_task = isinstance(task, dict) and "annotations" in task and "data" in task
        return "label studio" if is_task else "list"
    return _kind_of(raw) if isinstance(raw, dict) else "other"


def _kind_of(raw: dict[str, Any]) -> JsonKind:
    if "images" in raw and "categories" in raw:
        return "coco"
    if "shapes" in raw and "imagePath" in raw:
        return "labelme"
    regions = any(isinstance(value, dict) and "regions" in value for value in raw.values())
    return "via" if regions or "_via_img_metadata" in raw else "other"


def json_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """Those in a folder, sorted, hidden ones and clean copies apart; none where it is none."""
    found = (p for p in folder.glob(pattern) if not p.name.startswith("."))
    return sorted(p for p in found if not p.name.endswith(CLEAN))
