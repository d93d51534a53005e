"""Writes the tables of docs/measured.md from the records, so that no figure is typed by hand.

    python -m maskrt.tools.measured            write the tables again
    python -m maskrt.tools.measured --check    exit code 1 where page and records differ

A table stands in the page between `<!-- table: NAME -->` and `<!-- end -->`; NAME is one of
`TABLES`. The prose around it is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..eval import to_json
from ..eval.timing.bootstrap import speed_ratio
from .try_runtimes import titles_and_rows

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "measured.md"
RECORDS = ROOT / "eval" / "records"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
Rows = Iterable[Iterable[object]]


def record(name: str) -> Any:
    """One record of `eval/records`, by its name without `.json`."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: str, rows: Rows) -> str:
    """A Markdown table; `head` is its titles, separated by `|`."""
    titles = [title.strip() for title in head.split("|")]
    lines = [titles, ["---"] * len(titles), *(list(map(str, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def tiny_ap() -> str:
    """COCO AP of the shipped network on two drawn val sets."""
    metrics = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    rows = (
        [run["seed"], task, *(f"{run['accuracy'][task][m]:.1f}" for m in metrics)]
        for run in record("lsc_mask_rcnn_tiny")["runs"]
        for task in ("box", "mask")
    )
    return table("seed | of | " + " | ".join(metrics), rows)


def demo_gates() -> str:
    """Every hop of `make demo`, with its gate."""
    hops = {"fp32": "checkpoint → FP32", "fp16": "FP32 → FP16"}
    rows = (
        [
            hop["reference"].partition(".")[0].removesuffix("-fp32"),
            hops[hop["precision"]],
            _changes(hop["parity"]["box_changes"]),
            _changes(hop["parity"]["mask_changes"]),
            f"{hop['parity']['matched']:.2%}",
            "passed" if hop["passed"] else "FAILED",
        ]
        for hop in record("demo_cpu")["hops"]
    )
    return table("network | hop | box, points | mask, points | matched instances | gate", rows)


def full_size() -> str:
    """Milliseconds a picture of three networks in five ways to run them."""
    ways = (
        ("onnxruntime-cpu", "ONNX Runtime FP32"),
        ("openvino-cpu", "OpenVINO FP32"),
        ("openvino-cpu-bf16", "OpenVINO BF16"),
        ("torch-cpu-compile", "torch.compile"),
        ("torch-cpu", "torch"),
    )
    found: dict[str, dict[str, str]] = {}
    for row in record("full_size_cpu")["backends"]:
        if row["name"] != "baseline_plain.onnx":  # a table of its own: `rules`
            found.setdefault(row["variant"], {})[row["backend"]] = _median(row)
    rows = ([name, *(cells.get(way, "-") for way, _ in ways)] for name, cells in found.items())
    return table("network | " + " | ".join(title for _, title in ways), rows)


def floor() -> str:
    """How near each full-size row comes to what the machine's measured peak allows."""
    rows = (
        [row["name"], row["backend"], f"{row['measured_ms']:.0f}", f"{row['of_peak']:.0%}"]
        for row in record("full_size_cpu")["details"]["floor"]["rows"]
    )
    return table("file | backend | ms | of the peak", rows)


def openvino() -> str:
    """Change of accuracy of OpenVINO against the checkpoint."""
    rows = (
        [
            run["result"]["candidate"],
            re.findall(r"shapes-(\d+)", run["command"])[0],
            _changes(run["result"]["parity"]["box_changes"]),
            _changes(run["result"]["parity"]["mask_changes"]),
            "passed" if run["result"]["passed"] else "FAILED",
        ]
        for run in record("openvino_parity")["runs"]
    )
    return table("file | seed | box, points | mask, points | gate", rows)


def int8() -> str:
    """Change of accuracy, and size, of INT8 files."""
    rows = (
        [
            name,
            _changes(model["gate"]["parity"]["box_changes"]),
            _changes(model["gate"]["parity"]["mask_changes"]),
            f"{model['export']['int8']['mac_share']:.0%}",
            f"{model['bytes'][f'{name}-int8.onnx'] / 1e6:.1f} MB",
            "passed" if model["gate"]["passed"] else "FAILED",
        ]
        for name, model in record("int8_tiny")["models"].items()
    )
    return table("network | box, points | mask, points | MACs in INT8 | ONNX file | gate", rows)


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
            _changes(hop["parity"]["box_changes"]),
            _changes(hop["parity"]["mask_changes"]),
            "passed" if hop["passed"] else "FAILED",
        ]
        for variant in record("fastmask_tiny_parity")["variants"]
        for hop in variant["hops"]
    )
    return table("variant | pictures | to | box, points | mask, points | gate", rows)


def fastmask_full_size() -> str:
    """Full-size FastMask against DeepMask*, with what they multiply."""
    whole = record("fastmask_full_size_cpu")
    median = {
        row["name"]: row["summaries"]["model"]["p50_ms"] for row in whole["bench"]["backends"]
    }
    rows = (
        [
            row["name"].removesuffix(".onnx"),
            _median(row),
            f"{median['deepmask_r39.onnx'] / median[row['name']]:.2f}x",
            f"{median['fastmask_r39.onnx'] / median[row['name']]:.2f}x",
            f"{macs['total'] / 1e9:.0f}",
            f"{macs['objectness'] / macs['total']:.0%}",
        ]
        for row in whole["bench"]["backends"]
        for macs in [whole["macs"][row["name"].removesuffix(".onnx")]]
    )
    titles = "ms (interval) | against deepmask_r39 | against fastmask_r39 | GMACs | in objectness"
    return table("network | " + titles, rows)


def operators() -> str:
    """Every way to run the custom operators on a CPU."""
    rows = (
        [
            "" if index else case["title"].removeprefix("Maskrt"),
            row["name"].removesuffix(", CPU FP32"),
            f"{row['summary']['p50_ms']:.0f}",
            _ratio(row["speedup"]) if case["rows"][0]["speedup"] else "-",
            f"{row['max_difference']:.1e}" if row["max_difference"] else "0",
        ]
        for case in record("operators_cpu")["cases"]
        for index, row in enumerate(case["rows"])
    )
    return table("case | how | ms | against ONNX Runtime's RoiAlign | largest difference", rows)


def operators_gpu() -> str:
    """The kernels beside torch and torchvision on a GPU."""
    rows = []
    for case in record("gpu_h100")["cases"]:
        ways = [row for row in case["rows"] if row["device"] == "cuda"]
        for index, row in enumerate(ways):
            name, _, precision = row["name"].partition(", CUDA ")
            theirs = [w for w in ways if w["name"] == f"torchvision, CUDA {precision}"]
            ms = row["summary"]["p50_ms"]
            rows.append(
                [
                    "" if index else case["title"].removeprefix("Maskrt"),
                    *(name, precision, f"{ms:.3f}"),
                    f"{theirs[0]['summary']['p50_ms'] / ms:.1f}x" if theirs else "-",
                    *(f"{row['floor_share']:.0%}", f"{row['max_difference']:.1e}"),
                ]
            )
    titles = "ms | against torchvision | of the bandwidth | largest difference"
    return table(f"case | how | precision | {titles}", rows)


def rules() -> str:
    """The plain baseline, the same with the exact rule, and framework 1 beside them."""
    names = {
        "baseline_plain.onnx": "baseline, no rule",
        "baseline.onnx": "baseline, even_bins",
        "framework1.onnx": "framework 1",
    }
    found = {row["name"]: row for row in record("full_size_cpu")["backends"]}
    plain = _model_samples(found["baseline_plain.onnx"])
    rows = (
        [
            title,
            _median(found[name]),
            "1"
            if name == "baseline_plain.onnx"
            else _ratio(to_json(speed_ratio(plain, _model_samples(found[name])))),
        ]
        for name, title in names.items()
    )
    return table("network | ms (interval) | against no rule (interval)", rows)


def nms() -> str:
    """Both NMS of framework 1 beside the whole network."""
    median = {name: found["p50_ms"] for name, found in record("nms_share_cpu")["summaries"].items()}
    both = median["proposals 6000"] + median["detections 1000"]
    row = [
        f"{median['proposals 6000']:.1f}",
        f"{median['detections 1000']:.1f}",
        f"{median['framework1']:.0f}",
        f"{both / median['framework1']:.1%}",
    ]
    return table("NMS of 6000 anchors, ms | of 1000 detections, ms | network, ms | both", [row])


def pipeline() -> str:
    """What the host adds to the network, at full size."""
    whole = record("pipeline_cpu")
    phases = whole["phase_medians_ms"]
    cells = [f"{phases[name]:.1f}" for name in ("pre", "model", "post")]
    outside = f"{whole['outside_engine_share']:.1%}"
    titles = "resize and place, ms | network, ms | paste and run lengths, ms | all, ms | outside"
    return table(titles, [[*cells, f"{whole['pipeline_p50_ms']:.1f}", outside]])


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


def torchvision_speed() -> str:
    """Torchvision, its ONNX file and the same weights here, in one run."""
    whole = record("torchvision_speed_cpu")
    least_ms: dict[str, float] = {}
    for peak in whole["peaks"]:
        floor_ms = whole["layer_macs"] / peak["macs"] * min(peak["samples_ms"])
        best = least_ms.get(peak["precision"], floor_ms)
        least_ms[peak["precision"]] = min(best, floor_ms)
    rows = (
        [
            name,
            f"{found['p50_ms']:.0f} ({found['p50_low_ms']:.0f}-{found['p50_high_ms']:.0f})",
            *(_ratio(ratio) for ratio in whole["faster"][name].values()),
            f"{least_ms['bf16' if 'BF16' in name else 'fp32'] / found['p50_ms']:.0%}",
        ]
        for name, found in whole["summaries"].items()
    )
    titles = "ms (interval) | against torchvision | against its ONNX file | of the peak"
    return table(f"what | {titles}", rows)


def endurance() -> str:
    """What thousands of pictures leave behind in one process."""
    run = record("endurance_cpu")
    counted = [run["handle_growth"], run["threads"], len(run["differing_pictures"])]
    row = [f"{run['pictures']:,}", f"{run['growth']:+.3%}", *counted]
    titles = "pictures | memory after | open files after | threads | pictures that differ"
    return table(titles, [row])


def runtimes() -> str:
    """The shipped networks' FP32 files in each ONNX Runtime."""
    return table(*titles_and_rows(record("onnxruntime_versions_cpu")["rows"]))


def _median(row: Any) -> str:
    """`median (low-high)` of a bench row's model scope, in milliseconds."""
    found = row["summaries"]["model"]
    return f"{found['p50_ms']:.0f} ({found['p50_low_ms']:.0f}-{found['p50_high_ms']:.0f})"


def _model_samples(row: Any) -> Any:
    """(T, n) milliseconds of a bench row's model scope, in turns."""
    return np.array(row["samples_ms"]["model"])


def _ratio(speedup: dict[str, float] | None) -> str:
    if speedup is None:
        return "1"
    return f"{speedup['value']:.2f}x ({speedup['low']:.2f}-{speedup['high']:.2f})"


def _changes(points: dict[str, float]) -> str:
    """As "AP -0.41", or "AR@10 +0.27, AR@100 +0.02"; of equal neighbours the first."""
    shown = {name: value for name, value in points.items() if name != "AR@1000"}
    return ", ".join(f"{name} {round(value, 2) + 0.0:+.2f}" for name, value in shown.items())


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        *(tiny_ap, demo_gates, full_size, floor, openvino, int8, variants, fastmask_gates),
        *(fastmask_full_size, operators, operators_gpu, rules, nms, pipeline, bundles),
        *(torchvision_same, torchvision_speed, endurance, runtimes),
    )
}


def with_tables(page: str) -> str:
    """The page with every marked table made again."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


def main(argv: list[str] | None = None) -> int:
    """Write the tables; with `--check` only compare. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m maskrt.tools.measured", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit code 1 where they differ")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    written = arguments.page.read_text(encoding="utf-8")
    made = with_tables(written)
    if arguments.check:
        if made != written:
            print(f"{arguments.page}: tables differ from eval/records; run this without --check.")
        return int(made != written)
    arguments.page.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
