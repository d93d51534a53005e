"""`samples.html` of a training run: what it is given, and what its checkpoints make of pictures.

The page grows at its end, section by section, so that a run of any length holds none of it in
memory and one that was cut off leaves a page that opens; HTML may leave its last tags away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .pictures import Picture
from .rendering import rendered

_SECTION = re.compile(r"^<!-- step (\d+) -->$", re.MULTILINE)


def samples_page(title: str, note: str, pictures: Sequence[Picture]) -> str:
    """The page's beginning, before the first step."""
    return rendered("samples.html", title=title, note=note, pictures=pictures)


def evaluation_section(step: int, sentence: str, pictures: Sequence[Picture]) -> str:
    """What comes at its end after an evaluation."""
    return rendered("evaluation.html", step=step, sentence=sentence, pictures=pictures)


def without_later(page: str, step: int) -> str:
    """The page without the sections of steps after `step`, which come again."""
    later = (found.start() for found in _SECTION.finditer(page) if int(found[1]) > step)
    return page[: next(later, len(page))]
