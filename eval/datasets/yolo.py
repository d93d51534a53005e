"""YOLO segmentation folders: a text file of polygons a picture, class names in `data.yaml`.

    data.yaml               path, train, val, test, names
    images/train/1.jpg      labels/train/1.txt        or train/images/1.jpg, train/labels/1.txt
    1.txt                   CLASS X Y X Y X Y ... an object, x and y as shares of width and height

A picture without a text file has no objects; a line of four shares is a box, an object without a
mask. Class numbers become category ids.
Source: docs.ultralytics.com, Instance Segmentation Datasets Overview.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, first_line
from ...runtime.pictures.sources import PICTURE_SUFFIXES
from ..coco.rows import Reading, Row, shown
from ..coco.sections import Sections
from .layout import Layout, Part, YoloPart
from .picture_sizes import Size, size_hw
from .source import SPLIT_WORDS, Split

_BOX, _FEWEST = 4, 6  # shares of a box, and of a polygon at least
_BEYOND = 0.01  # of a side, which rounding and a careless mouse reach
_REMEDY = "Correct the file, or export the data set again."


def yolo_layout(root: Path) -> Layout | None:
    """The layout of the `data.yaml` in `root`, whatever its name; None where there is none.

    Raises:
        InputError: its classes are not named, or a list of pictures is missing.
    """
    for file in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        settings = _settings(file)
        if settings is not None:
            names = _names(file, settings["names"])
            return Layout("YOLO", _parts(file, settings, names))
    return None


def _settings(file: Path) -> dict[str, Any] | None:
    """What the file says; None where it is no data set's."""
    import yaml

    try:
        raw = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, OSError, ValueError, RecursionError):
        return None
    is_data = isinstance(raw, dict) and "names" in raw and {"train", "val", "test"} & raw.keys()
    return raw if is_data else None


def _names(file: Path, raw: Any) -> dict[int, str]:
    numbered = dict(enumerate(raw)) if isinstance(raw, list) else raw
    whole = isinstance(numbered, dict) and all(type(number) is int for number in numbered)
    if not whole or not numbered or not all(isinstance(n, str | int) for n in numbered.values()):
        raise InputError(
            f"{file}: names is {shown(raw)}; expected a list of class names, or each behind its "
            f"number. {_REMEDY}"
        )
    return {number: str(name) for number, name in sorted(numbered.items())}


def _parts(
    file: Path, settings: Mapping[str, Any], names: Mapping[int, str]
) -> dict[Split | str, Part]:
    parts: dict[Split | str, Part] = {}
    for split in SPLIT_WORDS:
        value = settings.get(split)
        if value:
            places = value if isinstance(value, list) else [value]
            found = [p for place in places for p in _pictures(file, settings, split, str(place))]
            parts[split] = YoloPart(file, tuple(sorted(set(found))), names)
    return parts


def _pictures(file: Path, settings: Mapping[str, Any], split: Split, place: str) -> list[Path]:
    """Of a folder and those below it, or of a text file that lists them."""
    candidates = [base / place for base in _bases(file, settings)]
    # Roboflow writes ../train/images for a folder beside the file
    candidates += [file.parent / place.lstrip("./")]
    for word in SPLIT_WORDS[split]:
        candidates += [file.parent / word / "images", file.parent / "images" / word]
    for path in candidates:
        if path.is_dir():
            return [p for p in sorted(path.rglob("*")) if _is_picture(p)]
        if path.suffix == ".txt" and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            return [path.parent / line.strip() for line in lines if line.strip()]
    return []


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _bases(file: Path, settings: Mapping[str, Any]) -> list[Path]:
    """What places in the file are relative to: its `path`, which may be another machine's."""
    given = settings.get("path")
    return [file.parent / str(given), file.parent] if given else [file.parent]


def yolo_sections(part: YoloPart, reading: Reading) -> tuple[Path, Sections]:
    """The folder that file names are relative to, and the three lists.

    Raises:
        InputError: there is no picture, no label at all, or a line that is no object.
    """
    if not part.pictures:
        raise InputError(
            f"{part.settings}: no picture in the folder it names for this split; expected "
            "images/ with labels/ beside it. Correct path, train and val in it."
        )
    folder = Path(os.path.commonpath([path.parent for path in part.pictures]))
    images: list[Row] = []
    objects: list[Row] = []
    labelled = 0
    for number, picture in enumerate(part.pictures, 1):
        row = {"id": number, "file_name": picture.relative_to(folder).as_posix()}
        labels = _label_file(picture)
        labelled += labels.is_file()
        try:
            height, width = size_hw(picture)
            found = [*_objects(labels, number, (height, width), part.names)]
        except InputError as err:
            reading.refuse(err, Row(picture, "picture", 0, row))
            continue
        images.append(Row(picture, "picture", 0, {**row, "height": height, "width": width}))
        objects += found
    if not labelled:
        raise InputError(
            f"{_label_file(part.pictures[0])}: no such file, nor any other of the "
            f"{len(part.pictures)} pictures; expected labels beside them. Put them there."
        )
    categories = [
        Row(part.settings, "names", number, {"id": number, "name": name})
        for number, name in part.names.items()
    ]
    return folder, {"images": images, "annotations": objects, "categories": categories}


def _label_file(picture: Path) -> Path:
    """In the folder `labels` where the picture's is `images`, else beside it."""
    parts = list(picture.with_suffix(".txt").parts)
    places = [place for place, name in enumerate(parts[:-1]) if name == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts)


def _objects(file: Path, image_id: int, image_hw: Size, names: Mapping[int, str]) -> Iterator[Row]:
    if not file.is_file():
        return
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(
            f"{file}: could not be read ({first_line(err)}); expected a line of numbers an object. "
            "Export the data set again."
        ) from err
    for place, line in enumerate(lines):
        if line.strip():
            number, shares = _numbers(file, place, line.split(), names)
            values = {"image_id": image_id, "category_id": number, **_shape(shares, image_hw)}
            yield Row(file, "lines", place, values)


def _numbers(
    file: Path, place: int, words: Sequence[str], names: Mapping[int, str]
) -> tuple[int, list[float]]:
    """Class number and shares of a line."""
    try:
        number, *shares = (float(word) for word in words)
    except ValueError:
        raise _refused(file, place, shown(" ".join(words)), "numbers") from None
    if number not in names:
        raise _refused(file, place, f"class {number:g}", f"one of {len(names)} that names lists")
    if len(shares) != _BOX and (len(shares) < _FEWEST or len(shares) % 2):
        found = f"{len(shares)} numbers behind the class"
        raise _refused(file, place, found, "pairs x y of three corners or more")
    outside = [share for share in shares if not -_BEYOND <= share <= 1 + _BEYOND]
    if outside:  # NaN is too
        raise _refused(file, place, f"{outside[0]:g}", "shares of the picture's sides, from 0 to 1")
    return int(number), shares


def _refused(file: Path, place: int, found: str, expected: str) -> InputError:
    return InputError(f"{file}: line {place + 1} holds {found}; expected {expected}. {_REMEDY}")


def _shape(shares: Sequence[float], image_hw: Size) -> dict[str, Any]:
    """Box and polygon in pixels; of a box no polygon."""
    height, width = image_hw
    if len(shares) == _BOX:
        x, y, w, h = shares
        return {"bbox": [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]}
    polygon = [share * (height if place % 2 else width) for place, share in enumerate(shares)]
    return {"bbox": box_around([polygon]), "segmentation": [polygon]}


def box_around(polygons: Sequence[Sequence[float]]) -> list[float]:
    """x, y, width and height of the box around polygons x, y, x, y, ..."""
    xs = [value for polygon in polygons for value in polygon[::2]]
    ys = [value for polygon in polygons for value in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
