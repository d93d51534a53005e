"""Tables of accuracy and agreement."""

from __future__ import annotations

import re
from typing import Any

from ..try_runtimes import titles_and_rows
from .records import changes, median_words, record, table


def tiny_ap() -> str:
    """COCO AP of the shipped network on two drawn val sets."""
    metrics = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    rows = (
        [run["seed"], task, *(f"{run['accuracy'][task][m]:.1f}" for m in metrics)]
        for run in record("lsc_mask_rcnn_tiny")["runs"]
        for task in ("box", "mask")
    )
    return table("seed | of | " + " | ".join(metrics), rows)


def four_networks() -> str:
    """Cost of the full-size networks beside accuracy of the tiny ones, of equal budget."""
    whole = record("four_networks")
    bench = {row["name"]: median_words(row) for row in whole["latency"]["backends"]}
    rows = (
        [
            name,
            f"{cost['parameters'] / 1e6:.1f} M",
            f"{cost['macs']['1000']['total'] / 1e9:.0f}",
            bench[f"{cost['recipe']}.onnx"],
            *(
                ", ".join(f"{found[of]['AP']:.1f}" for found in accuracy.values())
                for of in ("box", "mask")
            ),
        ]
        for name, cost in whole["costs"].items()
        for accuracy in [whole["tiny"][name]["accuracy"]]
    )
    titles = "network | parameters | GMACs | ms (interval) | tiny: box AP | tiny: mask AP"
    return table(titles, rows)


def fine_tuning() -> str:
    """AP on kinds of shapes that the weights never saw, by what a run starts from."""
    runs = record("fine_tuning")["runs"]
    rows = (
        [
            start,
            *(
                ", ".join(f"{run[of]:.1f}" for run in runs if run["start"] == start)
                for of in ("box_ap", "mask_ap")
            ),
        ]
        for start in dict.fromkeys(run["start"] for run in runs)
    )
    return table("begins from | box AP | mask AP", rows)


def demo_gates() -> str:
    """Every hop of `make demo`, with its gate."""
    hops = {"fp32": "checkpoint → FP32", "fp16": "FP32 → FP16"}
    rows = (
        [
            hop["reference"].partition(".")[0].removesuffix("-fp32"),
            hops[hop["precision"]],
            changes(hop["parity"]["box_changes"]),
            changes(hop["parity"]["mask_changes"]),
            f"{hop['parity']['matched']:.2%}",
            "passed" if hop["passed"] else "FAILED",
        ]
        for hop in record("demo_cpu")["hops"]
    )
    return table("network | hop | box, points | mask, points | matched instances | gate", rows)


def openvino() -> str:
    """Change of accuracy of OpenVINO against the checkpoint."""
    rows = (
        [
            run["result"]["candidate"],
            re.findall(r"shapes-(\d+)", run["command"])[0],
            changes(run["result"]["parity"]["box_changes"]),
            changes(run["result"]["parity"]["mask_changes"]),
            "passed" if run["result"]["passed"] else "FAILED",
        ]
        for run in record("openvino_parity")["runs"]
    )
    return table("file | seed | box, points | mask, points | gate", rows)


def variants() -> str:
    """Average recall of FastMask's necks and heads and of DeepMask*."""
    names = {
        "residual": "residual neck, attentional head (shipped)",
        "average": "average pooling neck",
        "max": "max pooling neck",
        "forward": "feed-forward neck",
        "standard": "residual neck, standard head",
        "deepmask": "DeepMask*",
    }
    metrics = ("AR@10", "AR@100", "ARs", "ARm", "ARl")
    rows = (
        [
            names[row["variant"]],
            seed.removeprefix("seed_"),
            *(f"{row[seed]['mask'][m]:.1f}" for m in metrics),
            f"{row[seed]['box']['AR@100']:.1f}",
        ]
        for seed in ("seed_2026", "seed_31337")
        for row in record("fastmask_tiny_variants")["rows"]
        if seed in row
    )
    return table("variant | seed | " + " | ".join(metrics) + " | box AR@100", rows)


def fastmask_gates() -> str:
    """Both hops of every tiny FastMask variant."""
    rows = (
        [
            variant["variant"],
            variant["images"],
            hop["precision"],
            changes(hop["parity"]["box_changes"]),
            changes(hop["parity"]["mask_changes"]),
            "passed" if hop["passed"] else "FAILED",
        ]
        for variant in record("fastmask_tiny_parity")["variants"]
        for hop in variant["hops"]
    )
    return table("variant | pictures | to | box, points | mask, points | gate", rows)


def bundles() -> str:
    """Accuracy of a bundle, of its landscape graph alone and of torch, by orientation."""
    ways = ("torch, native canvas", "bundle", "one canvas")

    def cell(accuracy: Any) -> str:
        metric = "AR@100" if "AR@100" in accuracy["box"] else "AP"
        return f"{accuracy['box'][metric]:.1f} / {accuracy['mask'][metric]:.1f}"

    rows = (
        [
            family,
            f"{found['bytes']['bundle'] / found['bytes']['one graph']:.2f}x",
            f"{part['pictures']}, {subset}",
            *(cell(part["accuracy"][way]) for way in ways),
            "passed" if part["against_torch"]["bundle"]["passed"] else "failed",
        ]
        for family, found in record("bundle_accuracy")["families"].items()
        for subset, part in found["subsets"].items()
    )
    titles = "network | size of the bundle | pictures | " + " | ".join(ways)
    return table(f"{titles} | FP32 gate of the bundle", rows)


def torchvision_same() -> str:
    """Torchvision's detectors, imported, instance by instance, and torchvision against itself."""
    rows = (
        [
            row["network"],
            row["seed"],
            row["here"]["instances"],
            f"{min(row['here']['found'], row['here']['back']):.2%}",
            *(f"{row[of]['score']:.1e}" for of in ("here", "ulp", "noise")),
        ]
        for row in record("torchvision_cpu")["rows"]
    )
    titles = "network | seed | instances | the same | score, largest difference"
    return table(f"{titles} | torchvision, one unit in the last place | torchvision, 1e-6", rows)


def runtimes() -> str:
    """The shipped networks' FP32 files in each ONNX Runtime."""
    return table(*titles_and_rows(record("onnxruntime_versions_cpu")["rows"]))
