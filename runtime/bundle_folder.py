"""How a bundle's folder comes about: whole or not at all, the index last.

`bundle.py` says what is in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from .bundle import INDEX, BundleFile, BundleGraph, BundleIndex, is_bundle
from .contract import Contract
from .errors import InputError
from .files import sha256_of
from .whole_folder import whole_folder


@contextlib.contextmanager
def bundle_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block succeeds.

    Raises:
        InputError: `folder` cannot be written, or is something else than a bundle, which would be
            replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; expected a bundle's folder to write. Choose another.")
    if folder.is_dir() and any(folder.iterdir()) and not is_bundle(folder):
        raise InputError(
            f"{folder}: a folder without {INDEX} that holds something; expected a new folder or a "
            "bundle to replace. Choose another."
        )
    with whole_folder(folder, replace=True) as made:
        yield made


def write_index(
    folder: Path, graphs: Sequence[tuple[Path, Contract]], weights: Path | None
) -> None:
    """Write the index of graphs whose contracts differ in their canvas alone.

    Args:
        folder: where they are.
        graphs: path and contract of each, the one that is to be opened first at the front.
        weights: what they share.
    """
    contract = graphs[0][1]
    index = BundleIndex(
        model=contract.model,
        variant=contract.variant,
        precision=contract.precision,
        batch=contract.batch,
        checkpoint_sha256=contract.checkpoint_sha256,
        graphs=tuple(BundleGraph(*_facts(path), of.canvas_hw) for path, of in graphs),
        weights=None if weights is None else BundleFile(*_facts(weights)),
    )
    (folder / INDEX).write_text(index.to_json(), encoding="utf-8")


def _facts(path: Path) -> tuple[str, str, int]:
    return path.name, sha256_of(path), path.stat().st_size
