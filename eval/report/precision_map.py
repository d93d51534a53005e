"""What each module of a file multiplies in: as a table, and as `plots.precision_plot` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .table import Table

PRECISIONS = ("fp32", "fp16", "int8", "fp8")
MOST_MODULES = 12
"""Of a file; the smallest ones are told together, under the module that holds them."""
_NOTE = (
    "Multiply-accumulates of one call, millions, and the share of them in each precision, counted "
    "in the file; the body of an operator of maskrt stands under its name, what is in no module "
    "under (rest). An engine built from the file obeys, a CPU computes FP16 as it can."
)


@dataclass(frozen=True)
class Product:
    """What one node multiplies."""

    module: str
    """A path, "model.backbone.res3.0.conv1"."""
    precision: str
    """One of `PRECISIONS`."""
    macs: int


@dataclass(frozen=True)
class Module:
    """A part of a network."""

    name: str
    macs: dict[str, int]
    """Multiply-accumulates of one call, by precision."""

    @property
    def total(self) -> int:
        """Of all precisions."""
        return sum(self.macs.values())


@dataclass(frozen=True)
class PrecisionMap:
    """A file's modules, in the order in which they run."""

    name: str
    """Of the file."""
    modules: tuple[Module, ...]

    @property
    def whole(self) -> Module:
        """All of them as one."""
        found = {
            precision: sum(module.macs.get(precision, 0) for module in self.modules)
            for precision in PRECISIONS
        }
        return Module("all", {precision: macs for precision, macs in found.items() if macs})


def precision_map_of(name: str, products: Sequence[Product]) -> PrecisionMap:
    """Add up what a file multiplies, in `MOST_MODULES` modules at most.

    Args:
        name: of the file.
        products: of its nodes, in order.
    """
    names = _told_together([(product.module, product.macs) for product in products])
    found: dict[str, dict[str, int]] = {}
    for product in products:
        macs = found.setdefault(names[product.module], {})
        macs[product.precision] = macs.get(product.precision, 0) + product.macs
    return PrecisionMap(name, tuple(Module(*item) for item in found.items()))


def _told_together(modules: Sequence[tuple[str, int]]) -> dict[str, str]:
    """The name under which each module is told: its own or that of one around it."""
    told = {name: name for name, _ in modules}
    while len(set(told.values())) > MOST_MODULES:
        around = {short.rpartition(".")[0] for short in told.values()} - {""}
        if not around:
            break
        parent = min(around, key=lambda path: (_macs_in(path, modules), path))
        told |= {name: parent for name in told if _is_in(name, parent)}
    return told


def _macs_in(path: str, modules: Sequence[tuple[str, int]]) -> int:
    return sum(macs for name, macs in modules if _is_in(name, path))


def _is_in(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def precision_table(maps: Sequence[PrecisionMap]) -> Table:
    """A row for each module of each file, and one for the whole file before them."""
    shown = [p for p in PRECISIONS if any(p in one.whole.macs for one in maps)]
    rows = [
        (one.name, module.name, *_cells(module, one.whole.total, shown))
        for one in maps
        for module in (one.whole, *one.modules)
    ]
    return Table(
        "Precision by module",
        ("file", "module", "MMACs", "of all", *shown),
        tuple(rows),
        (_NOTE,),
        keys=1,
    )


def _cells(module: Module, whole: int, shown: Sequence[str]) -> list[str]:
    shares = [module.macs.get(precision, 0) / max(module.total, 1) for precision in shown]
    return [
        f"{module.total / 1e6:.1f}",
        f"{module.total / max(whole, 1):.1%}",
        *(f"{share:.0%}" if share else "-" for share in shares),
    ]
