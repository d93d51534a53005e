"""Names of classes as somebody gives them: in a word, in a list, or in COCO annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ...eval.coco.sections import read_rows
from ...runtime.errors import InputError
from ...runtime.files import require_file
from ..recipes.ranges import Items
from ..recipes.values import value_of

LIST, COCO = (".txt", ".names"), ".json"
MOST_BYTES = 1 << 18
NAMES = Annotated[tuple[str, ...], Items(1)]


def class_names_from(text: str) -> tuple[str, ...]:
    """Names in label order.

    Args:
        text: "cat,dog", or a file: `.txt` with a name a line, or COCO annotations (`.json`), whose
            categories in the order of their ids are the labels, as Detectron2 registers them.

    Raises:
        InputError: no such file, not readable, or COCO's rows are not.
        ConfigError: a name that is empty or does not print, or none.
    """
    path = Path(text)
    if path.suffix.lower() == COCO:
        require_file(path, "COCO annotations", (COCO,))
        rows = sorted(read_rows(path)["categories"], key=lambda row: row.whole("id"))
        names = [row.text("name") for row in rows]
    elif path.suffix.lower() in LIST and "," not in text:
        names = [line for line in _text(path).splitlines() if line.strip()]
    else:
        names = text.split(",")
    stripped = [name.strip() for name in names]
    checked: tuple[str, ...] = value_of(NAMES, stripped, "--classes", "names")
    return checked


def category_ids_from(text: str, class_names: tuple[str, ...]) -> tuple[int, ...]:
    """Ids of these classes in COCO annotations that named them; () of any other `text`."""
    path = Path(text)
    if path.suffix.lower() != COCO:
        return ()
    ids = {row.text("name").strip(): row.whole("id") for row in read_rows(path)["categories"]}
    known = all(name in ids for name in class_names)
    return tuple(ids[name] for name in class_names) if known else ()


def _text(path: Path) -> str:
    require_file(path, "a list of class names", LIST)
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise InputError(
                f"{path}: {len(data)} bytes; expected at most {MOST_BYTES}, a class name a line. "
                "Name such a file."
            )
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(
            f"{path}: could not be read ({err}); expected a class name a line, in UTF-8. "
            "Save it again."
        ) from err
