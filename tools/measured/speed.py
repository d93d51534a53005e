"""Tables of latency, of whole networks and of their parts."""

from __future__ import annotations

from ...eval import to_json
from ...eval.timing.bootstrap import speed_ratio
from ..training.step_parts import PARTS
from .records import median_words, model_samples, ratio_words, record, table


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
            found.setdefault(row["variant"], {})[row["backend"]] = median_words(row)
    rows = ([name, *(cells.get(way, "-") for way, _ in ways)] for name, cells in found.items())
    return table("network | " + " | ".join(title for _, title in ways), rows)


def floor() -> str:
    """How near each full-size row comes to what the machine's measured peak allows."""
    rows = (
        [row["name"], row["backend"], f"{row['measured_ms']:.0f}", f"{row['of_peak']:.0%}"]
        for row in record("full_size_cpu")["details"]["floor"]["rows"]
    )
    return table("file | backend | ms | of the peak", rows)


def fastmask_full_size() -> str:
    """Full-size FastMask against DeepMask*, with what they multiply."""
    whole = record("fastmask_full_size_cpu")
    median = {
        row["name"]: row["summaries"]["model"]["p50_ms"] for row in whole["bench"]["backends"]
    }
    rows = (
        [
            row["name"].removesuffix(".onnx"),
            median_words(row),
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
            *(ratio_words(ratio) for ratio in whole["faster"][name].values()),
            f"{least_ms['bf16' if 'BF16' in name else 'fp32'] / found['p50_ms']:.0%}",
        ]
        for name, found in whole["summaries"].items()
    )
    titles = "ms (interval) | against torchvision | against its ONNX file | of the peak"
    return table(f"what | {titles}", rows)


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


def endurance() -> str:
    """What thousands of pictures leave behind in one process."""
    titles = "what | memory after | open files after | threads | pictures that differ"
    whats = ("{:,} pictures", "{:,} frames of a video, by `maskrt predict`")
    runs = (record("endurance_cpu"), record("endurance_video_cpu"))
    rows = [
        [
            what.format(run["pictures"]),
            f"{run['growth']:+.3%}",
            *(run["handle_growth"], run["threads"], len(run["differing_pictures"])),
        ]
        for what, run in zip(whats, runs, strict=True)
    ]
    return table(titles, rows)


def operators() -> str:
    """Every way to run the custom operators on a CPU."""
    rows = (
        [
            "" if index else case["title"].removeprefix("Maskrt"),
            row["name"].removesuffix(", CPU FP32"),
            f"{row['summary']['p50_ms']:.0f}",
            ratio_words(row["speedup"]) if case["rows"][0]["speedup"] else "-",
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
    plain = model_samples(found["baseline_plain.onnx"])
    rows = (
        [
            title,
            median_words(found[name]),
            "1"
            if name == "baseline_plain.onnx"
            else ratio_words(to_json(speed_ratio(plain, model_samples(found[name])))),
        ]
        for name, title in names.items()
    )
    return table("network | ms (interval) | against no rule (interval)", rows)


def training_step() -> str:
    """Where a training step's time goes, before and after it was looked at."""
    whole, parts = record("training_step_cpu"), (*PARTS, "rest")
    rows = list[list[object]]()
    for recipe, found in whole["recipes"].items():
        for name, loads in found["pictures_per_s"].items():
            turns, step = found["ms"][name], found["summary"][name]
            rows.append(
                [
                    *("" if name == "now" else recipe, name, len(turns), f"{step['step_ms']:.0f}"),
                    *(f"{step['shares'][part]:.1%}" for part in parts),
                    f"{loads['loaded'] / loads['trained']:.0f}x",
                ]
            )
    titles = f"recipe | code | turns | ms a step | {' | '.join(parts)} | loaded against trained"
    return table(titles, rows)
