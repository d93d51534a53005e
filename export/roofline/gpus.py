"""GPUs as their makers' data sheets have them: what `--gpu` names.

`data_sheets.yaml` has those that ship, each with its source. A YAML file of the same form, one row
or several, stands in for a name wherever one is taken: other clocks, measured figures, other GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...runtime.errors import InputError, first_line
from ...runtime.files import require_file
from ...runtime.json_values import decoded
from ...train.recipes.recipe import MOST_BYTES, YAML_ERRORS

DATA_SHEETS = Path(__file__).with_name("data_sheets.yaml")
PRECISIONS = ("fp32", "tf32", "fp16", "int8", "fp8")


@dataclass(frozen=True)
class Gpu:
    """What one GPU can do at most."""

    name: str
    tera_ops: dict[str, float]
    """By precision, 10^12 operations a second of dense products; a multiply-accumulate is two."""
    bandwidth_gb_s: float
    """10^9 bytes a second of its memory."""
    l2_mib: float
    """2^20 bytes of the cache before it."""
    source: str
    """Where the figures are from."""
    note: str = ""
    """At which clock, and where a real one can differ."""

    def compute_ms(self, macs: int, precision: str) -> float:
        """The least time of some multiply-accumulates.

        Raises:
            InputError: the GPU has no units for this precision.

        """
        if not macs:
            return 0.0
        if precision not in self.tera_ops:
            raise InputError(
                f"{self.name}: products in {precision.upper()} found in the file; expected "
                f"{', '.join(self.tera_ops)}, which it has units for. Export in another precision "
                "or name another GPU."
            )
        return 2e-9 * macs / self.tera_ops[precision]

    def memory_ms(self, moved: int) -> float:
        """The least time of some bytes to or from its memory."""
        return 1e-6 * moved / self.bandwidth_gb_s

    def beyond_cache(self, size: int) -> int:
        """Of a tensor of `size` bytes between two kernels, what cannot wait in the cache."""
        return max(0, size - int(self.l2_mib * 2**20))


def gpus_named(text: str) -> tuple[Gpu, ...]:
    """What `--gpu` says: names of shipped GPUs and YAML files, separated by commas.

    Raises:
        InputError: an unknown name, or a file that has no such rows.

    """
    return tuple(gpu for part in text.split(",") for gpu in _gpus(part.strip()))


def gpu(name: str) -> Gpu:
    """A shipped GPU by its name, or the first of a YAML file.

    Raises:
        InputError: as `gpus_named`.

    """
    return _gpus(name)[0]


def shipped_gpus() -> dict[str, Gpu]:
    """Those of `data_sheets.yaml`, by name."""
    return _rows(DATA_SHEETS)


def _gpus(name: str) -> tuple[Gpu, ...]:
    if name.lower().endswith((".yaml", ".yml")):
        return tuple(_rows(require_file(Path(name), "a GPU's figures", (".yaml", ".yml"))).values())
    known = shipped_gpus()
    if name.lower() not in known:
        raise InputError(
            f"GPU '{name}': not known; expected {', '.join(known)}, or a YAML file of the same "
            "form as export/roofline/data_sheets.yaml. Name one of these."
        )
    return (known[name.lower()],)


def _rows(path: Path) -> dict[str, Gpu]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict) or not raw:
            raise ValueError("no rows")
        rows = {str(key): decoded(Gpu, row, str(key)) for key, row in raw.items()}
        for key, row in rows.items():
            _check(key, row)
    except (*YAML_ERRORS, OSError) as err:
        raise InputError(
            f"{path}: no figures of GPUs ({first_line(err)}); expected rows with name, tera_ops, "
            "bandwidth_gb_s, l2_mib and source. Copy one of export/roofline/data_sheets.yaml."
        ) from err
    return rows


def _check(key: str, row: Gpu) -> None:
    """Every figure above 0, every precision a known one; the cache may be left out as 0."""
    figures: Mapping[str, float] = {**row.tera_ops, "bandwidth_gb_s": row.bandwidth_gb_s}
    if wrong := sorted(row.tera_ops.keys() - set(PRECISIONS)):
        raise ValueError(f"{key}.tera_ops has '{wrong[0]}'; expected {', '.join(PRECISIONS)}")
    for name, value in figures.items():
        if not value > 0:
            raise ValueError(f"{key}: {name} is {value:g}; expected more than 0")
    if row.l2_mib < 0:
        raise ValueError(f"{key}: l2_mib is {row.l2_mib:g}; expected 0 or more")
