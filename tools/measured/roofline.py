"""Tables of docs/how/floor.md: least times, none of them measured but in the last column of one."""

from __future__ import annotations

from typing import Any

from .records import record, table

SHOWN = ("t4", "orin", "rtx4060", "rtx4090", "l4", "a100", "h100", "b200")
"""GPUs of the wider tables."""
BY_OPERATOR = ("l4", "h100")
MAIN = "lsc_mask_rcnn_r50_512"
PRECISIONS = ("fp32", "fp16", "int8", "fp8")


def floor_of_networks() -> str:
    """Every network in FP16 with plugins, on every GPU."""
    rows = [
        [
            file["network"],
            file["canvas"],
            f"{file['macs']['plugin'] / 1e9:.0f}",
            file["kernels"]["plugin"],
            *(_ms(file["gpus"][name]["plugin"]["floor_ms"]) for name in SHOWN),
        ]
        for file in _files("fp16")
    ]
    return table(f"network | canvas | GMACs | kernels | {' | '.join(SHOWN)}", rows)


def floor_by_precision() -> str:
    """Framework 1 in each precision."""
    rows = [
        [
            file["precision"].upper(),
            *(_ms(_floor(file, name)) for name in SHOWN),
        ]
        for precision in PRECISIONS
        for file in _files(precision)
        if file["network"] == MAIN
    ]
    return table(f"{MAIN} | {' | '.join(SHOWN)}", rows)


def floor_by_operator() -> str:
    """Where the floor of framework 1 in FP16 lies, with bodies and with plugins."""
    (file,) = (file for file in _files("fp16") if file["network"] == MAIN)
    rows = []
    for name in BY_OPERATOR:
        for way, found in file["gpus"][name].items():
            parts = ", ".join(
                f"{operator} {row['ms'] / found['floor_ms']:.1%}"
                for operator, row in found["operators"].items()
            )
            cells = [_ms(found[key]) for key in ("floor_ms", "uncached_ms", "copied_ms")]
            rows.append([name, way, *cells, file["kernels"][way], parts])
    titles = "floor, ms | nothing cached, ms | changes of order copied, ms | kernels | of the floor"
    return table(f"GPU | operators | {titles}", rows)


def floor_against_measured() -> str:
    """The floor by a CPU's own peaks beside what it measured."""
    rows = [
        [
            *(file["network"], row["backend"], file["precision"].upper()),
            f"{row['floor_ms']:.0f}",
            f"{row['measured_ms']:.0f}",
            f"{row['floor_ms'] / row['measured_ms']:.0%}",
        ]
        for file in record("roofline")["files"]
        for row in file["measured"]
    ]
    return table("network | backend | file | floor, ms | measured, ms | reached", rows)


def floor_of_kernels() -> str:
    """The shipped kernels on an H100 beside the bytes that they must move."""
    gpu = record("roofline")["gpus"]["h100"]
    rows = []
    for case in record("gpu_h100")["cases"]:
        for row in case["rows"]:
            kernel, _, precision = row["name"].partition(", CUDA ")
            if kernel != "PTX kernel":
                continue
            floor_ms = row["least_bytes"] / gpu["bandwidth_gb_s"] / 1e6
            ms = row["summary"]["p50_ms"]
            title = case["title"].removeprefix("Maskrt")
            rows.append([title, precision, f"{floor_ms:.3f}", f"{ms:.3f}", f"{floor_ms / ms:.0%}"])
    return table("kernel | precision | floor, ms | measured, ms | reached", rows)


def data_sheets() -> str:
    """The shipped figures with their sources."""
    rows = [
        [
            *(f"`{name}`", gpu["name"]),
            *(f"{gpu['tera_ops'].get(precision, '-')}" for precision in ("fp32", "tf32")),
            *(f"{gpu['tera_ops'].get(precision, '-')}" for precision in ("fp16", "int8", "fp8")),
            *(gpu["bandwidth_gb_s"], gpu["l2_mib"], gpu["source"]),
        ]
        for name, gpu in record("roofline")["gpus"].items()
    ]
    return table("name | GPU | FP32 | TF32 | FP16 | INT8 | FP8 | GB/s | L2, MiB | source", rows)


def _files(precision: str) -> list[dict[str, Any]]:
    return [file for file in record("roofline")["files"] if file["precision"] == precision]


def _floor(file: dict[str, Any], gpu: str) -> float | None:
    found = file["gpus"].get(gpu)
    return None if found is None else found["plugin"]["floor_ms"]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
