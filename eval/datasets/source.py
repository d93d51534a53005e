"""What somebody names as labelled pictures, and the words for splits."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...runtime.errors import InputError

Split = Literal["train", "val", "test"]

SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What tools call a split, in small letters."""
VAL_SHARE = 0.1
"""Of the pictures, where a data set has no val split and nothing else is asked for."""


@dataclass(frozen=True)
class DataSource:
    """A folder in any known layout, or the two halves of a pair."""

    folder: Path
    """Of the data set; of the pictures alone where `annotations` are named."""
    annotations: Path | None = None
    """COCO JSON of the pictures in `folder`; None finds the layout."""
    val_share: float | None = None
    """Share of the pictures, above 0 and at most 1, that is the val split where there is none;
    None is `VAL_SHARE`."""
    val: tuple[Path, Path] | None = None
    """Pictures and COCO JSON of the val split, where `annotations` are those of the train split."""
    lenient: bool = False
    """Whether what reads well and would change a metric in silence is said instead of refused."""

    def __post_init__(self) -> None:
        """Refuse a share that no split can be."""
        if self.val_share is not None and not 0 < self.val_share <= 1:
            raise InputError(
                f"--val-share {self.val_share:g}: expected a share of the pictures, above 0 and "
                "at most 1. Use 0.1 for a tenth, 1 to measure on all of them."
            )

    @property
    def words(self) -> str:
        """As a command line names it."""
        named: dict[str, Path | str] = {"data": self.folder}
        if self.annotations is not None:
            named = {"images": self.folder, "annotations": self.annotations}
        if self.val is not None:
            named |= dict(zip(("val-images", "val-annotations"), self.val, strict=True))
        if self.val_share is not None:
            named["val-share"] = f"{self.val_share:g}"
        words = [f"--{name} {shlex.quote(str(value))}" for name, value in named.items()]
        return " ".join([*words, *(["--lenient"] if self.lenient else [])])

    def __str__(self) -> str:
        """As a sentence names it."""
        return str(self.annotations or self.folder)


def source_of(data: str | Path | DataSource) -> DataSource:
    """A folder's name as a source."""
    return data if isinstance(data, DataSource) else DataSource(Path(data))


def split_named(text: str) -> Split | None:
    """The split whose word, in letters of either size, `text` is; None where it is none's."""
    for split, words in SPLIT_WORDS.items():
        if text.lower() in words:
            return split
    return None
