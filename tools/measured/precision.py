"""Tables of INT8 and FP8, and of what a search chose: accuracy by emulation."""

from __future__ import annotations

from .records import changes, record, table


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
    rows = []
    for name, found in record("search_tiny")["networks"].items():
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
