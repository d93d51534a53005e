"""What all parts of a run have in common: `OUT/manifest.json`, and which pictures are whose.

    OUT/manifest.json             model, pictures, number of parts
    OUT/shards/2-of-4.parquet     what the second part found

Part i of n has the pictures at places i - 1, i - 1 + n, ... of the manifest, so that parts take
equally long and none needs to know of another. Each part makes the manifest itself; the first one
writes it, and a part that would write another one is refused: it was given other pictures, or
another model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...runtime.errors import InputError, first_line
from ...runtime.files import is_file, write_text
from ...runtime.json_values import decoded, parse_json

FILE = "manifest.json"
SCHEMA_VERSION = 1
MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Check the range; InputError names it."""
        if not 1 <= self.number <= self.count <= MOST_SHARDS:
            raise InputError(
                f"--shard {self.number}/{self.count}: expected a part from 1/n to n/n, n at most "
                f"{MOST_SHARDS}. Correct it."
            )

    def places(self, pictures: int) -> range:
        """Places of its pictures in the manifest."""
        return range(self.number - 1, pictures, self.count)


@dataclass(frozen=True)
class Manifest:
    """A run, as all its parts have to see it."""

    verb: Literal["predict", "eval"]
    model_sha256: str
    """Of the model's file, of a bundle its index; what runs it may differ between machines."""
    settings: dict[str, Any]
    """What else changes results, as plain JSON."""
    shards: int
    pictures: tuple[str, ...]
    """By place: what names each."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """JSON with sorted keys, a line for each picture, one newline at the end."""
        return json.dumps(dataclasses.asdict(self), indent=0, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of its JSON: a part's file says of which run it is."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def agree(manifest: Manifest, out: Path) -> None:
    """Write the manifest, or find it there; to be called once the model is open.

    Raises:
        InputError: another run's is there, or it cannot be written.
    """
    if is_file(out / FILE):
        require_same(manifest, out)
    else:
        write_text(out / FILE, manifest.to_json())


def require_same(manifest: Manifest, out: Path) -> None:
    """Check that a folder holds this run, or none yet.

    Raises:
        InputError: it holds another one.
    """
    found = read_manifest(out) if is_file(out / FILE) else manifest
    if found != manifest:
        raise InputError(
            f"{out / FILE}: {_difference(found, manifest)}; expected the run that this folder "
            "holds. Repeat its command with its n, or choose another --out."
        )


def read_manifest(out: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        InputError: there is none, or it is not one that this maskrt reads.
    """
    try:
        found = decoded(Manifest, parse_json((out / FILE).read_bytes()))
        if found.schema_version != SCHEMA_VERSION or not 1 <= found.shards <= MOST_SHARDS:
            raise ValueError(f"schema {found.schema_version}, {found.shards} shards")
    except OSError as err:
        raise InputError(
            f"{out / FILE}: {err.strerror or err}; expected what --shard 1/n writes there. Run "
            "the shards first."
        ) from err
    except ValueError as err:
        raise InputError(
            f"{out / FILE}: not a manifest that this maskrt reads ({first_line(err)}); expected "
            "one as --shard writes it. Run the shards again in another --out."
        ) from err
    return found


def _difference(found: Manifest, asked: Manifest) -> str:
    """The first thing in which they differ, in words."""
    if found.verb != asked.verb:
        return f"shards of maskrt {found.verb} found"
    if found.model_sha256 != asked.model_sha256:
        return f"another model found (SHA-256 {found.model_sha256[:12]})"
    if found.shards != asked.shards:
        return f"{found.shards} shards found, not {asked.shards}"
    if found.pictures != asked.pictures:
        return f"{len(found.pictures)} pictures found that are not this command's"
    return f"other settings found ({json.dumps(found.settings, sort_keys=True)[:200]})"
