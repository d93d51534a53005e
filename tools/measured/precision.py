"""Tables of INT8 and FP8: by emulation, as engines, as a search chose, and in sessions on a CPU."""

from __future__ import annotations

from typing import Any

from ...eval import to_json
from ...eval.timing.bootstrap import speed_ratio
from .records import changes, median_words, model_samples, ratio_words, record, table

CPU_WAYS = {
    "onnxruntime-cpu": "ONNX Runtime FP32",
    "onnxruntime-cpu-int8": "ONNX Runtime INT8",
    "openvino-cpu": "OpenVINO FP32",
    "openvino-cpu-bf16": "OpenVINO BF16",
    "openvino-cpu-int8": "OpenVINO INT8 + FP32",
    "openvino-cpu-int8-bf16": "OpenVINO INT8 + BF16",
}
"""By the backend's name in a record."""


def quantized() -> str:
    """Change of accuracy, and size, of INT8 and FP8 files with an FP16 rest."""
    rows = (
        [
            name,
            precision.upper(),
            seed,
            changes(judged["hop"]["parity"]["box_changes"]),
            changes(judged["hop"]["parity"]["mask_changes"]),
            f"{judged['hop']['parity']['matched']:.0%}",
            f"{found['export']['mac_share']:.0%}",
            f"{found['bytes'] / 1e6:.1f} MB",
            "passed" if judged["hop"]["passed"] else "FAILED",
        ]
        for name, precisions in record("quantized_tiny")["accuracy"]["networks"].items()
        for precision, found in precisions.items()
        for seed, judged in found["seeds"].items()
    )
    titles = "box, points | mask, points | matched | MACs in it | ONNX file | gate"
    return table(f"network | precision | seed | {titles}", rows)


def quantized_engines() -> str:
    """Shares of the work by precision in the networks that TensorRT-RTX parsed and built."""
    names = ("fp32", "fp16", "int8", "fp8")
    rows = (
        [
            name,
            precision.upper(),
            *(f"{100 * built['network']['mac_shares'].get(of, 0):.1f} %" for of in names),
            f"{built['engine_bytes'] / 1e6:.1f} MB",
        ]
        for name, precisions in record("quantized_engines")["engines"].items()
        for precision, built in precisions.items()
    )
    return table("network | file | FP32 | FP16 | INT8 | FP8 | engine", rows)


def searched() -> str:
    """What `maskrt search` chose, on the set that it searched on and on one that it did not see."""
    return _searched("search_tiny")


def searched_in_openvino() -> str:
    """The same of a search whose candidates ran in OpenVINO."""
    return _searched("search_openvino")


def _searched(name_of_record: str) -> str:
    rows = []
    for name, found in record(name_of_record)["networks"].items():
        certificate = found["certificate"]
        total = certificate["total_ms"]
        for place, measured in enumerate(certificate["sets"]):
            role = "searched" if place == 0 else "unseen"
            words = ", ".join(
                f"{what} {measured['figures'][what]:+.2f} ({low:+.2f} to {high:+.2f})"
                for what, (low, high) in measured["intervals"].items()
                if "1000" not in what
            )
            rows.append(
                [
                    name,
                    f"{role} ({measured['data']})",
                    words,
                    f"{certificate['mac_shares']['int8']:.1%}",
                    f"{total['found']:.3f} ({total['all fp16']:.3f})",
                    "passed" if measured["passed"] else "FAILED",
                ]
            )
    head = "network | pictures | points (95 % interval) | MACs in INT8 | floor, ms (FP16) | gate"
    return table(head, rows)


def int8_cpu_speed() -> str:
    """Full-size networks in FP32, BF16 and INT8, each against FP32 in the same runtime."""
    found: dict[str, dict[str, Any]] = {}
    for row in record("int8_cpu")["speed"]["backends"]:
        found.setdefault(row["variant"], {})[row["backend"]] = row
    rows = (
        [name, CPU_WAYS[backend], median_words(row), _against_fp32(row, ways)]
        for name, ways in found.items()
        for backend, row in ways.items()
    )
    return table("network | how | ms (interval) | against FP32 (interval)", rows)


def _against_fp32(row: Any, ways: dict[str, Any]) -> str:
    fp32 = ways["onnxruntime-cpu" if row["backend"].startswith("onnx") else "openvino-cpu"]
    ratio = None if row is fp32 else speed_ratio(model_samples(fp32), model_samples(row))
    return ratio_words(to_json(ratio))


def int8_cpu_accuracy() -> str:
    """Change of accuracy of the shipped networks in the same ways."""
    rows = (
        [
            row["network"],
            row["seed"],
            CPU_WAYS[row["backend"]],
            changes(row["hop"]["parity"]["box_changes"]),
            changes(row["hop"]["parity"]["mask_changes"]),
            f"{row['hop']['parity']['matched']:.0%}",
            "passed" if row["hop"]["passed"] else "FAILED",
        ]
        for row in record("int8_cpu")["accuracy"]["rows"]
    )
    return table("network | seed | how | box, points | mask, points | matched | gate", rows)
