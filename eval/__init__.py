"""Evaluation without torch: COCO AP, parity between artefacts, latency, and the report.

    load_coco -> predict_data -> coco_ap, compare     accuracy, and what each hop changed
    bench                                             latency of several models, interleaved
    Report -> write_report                            report.html and report.json

Everything works on a `maskrt.runtime.Predictor`, whatever runs inside it.
"""

from .coco_ap import AP_NAMES, NO_TRUTH, Accuracy, coco_ap
from .coco_data import CocoData, ImageRecord, category_ids_for, load_coco
from .environment import environment, has_gpu, package_versions
from .latency import BackendLatency, Bench, bench, bench_json
from .measurement import Measurement, hop_between, measure
from .nvml import gpu_state
from .parity import Hop, Parity, check_gates, compare, hop_json, make_hop
from .pictures import Picture, example_pictures
from .predictions import Prediction, coco_rows, predict_data, prediction_from_instances, read_record
from .report import Report, report_html, report_json, report_tables, write_report
from .runner import BenchOptions, DeviceResident, Target, quick_options
from .tables import (
    Table,
    accuracy_table,
    hop_table,
    latency_table,
    markdown,
    phase_table,
    print_table,
    spread_table,
)

__all__ = [
    "AP_NAMES",
    "NO_TRUTH",
    "Accuracy",
    "BackendLatency",
    "Bench",
    "BenchOptions",
    "CocoData",
    "DeviceResident",
    "Hop",
    "ImageRecord",
    "Measurement",
    "Parity",
    "Picture",
    "Prediction",
    "Report",
    "Table",
    "Target",
    "accuracy_table",
    "bench",
    "bench_json",
    "category_ids_for",
    "check_gates",
    "coco_ap",
    "coco_rows",
    "compare",
    "environment",
    "example_pictures",
    "gpu_state",
    "has_gpu",
    "hop_between",
    "hop_json",
    "hop_table",
    "latency_table",
    "load_coco",
    "make_hop",
    "markdown",
    "measure",
    "package_versions",
    "phase_table",
    "predict_data",
    "prediction_from_instances",
    "print_table",
    "quick_options",
    "read_record",
    "report_html",
    "report_json",
    "report_tables",
    "spread_table",
    "write_report",
]
