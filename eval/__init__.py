"""Evaluation without torch: COCO AP and AR, parity between artefacts, latency, and the report.

    load_coco -> predict_data -> coco_ap, coco_ar, compare   accuracy, and what each hop changed
    bench                                                    latency of several, interleaved
    Report -> write_report                                   report.html and report.json

Everything works on a `maskrt.runtime.Predictor`, whatever runs inside it.
"""

from .accuracy import AP_NAMES, AR_NAMES, NO_TRUTH, Accuracy
from .coco_ap import coco_ap
from .coco_ar import CocoRecall, coco_ar
from .coco_data import CocoData, ImageRecord, category_ids_for, load_coco
from .environment import environment, has_gpu, package_versions
from .latency import BackendLatency, Bench, bench, bench_json
from .measurement import Measurement, hop_between, measure
from .nvml import gpu_state
from .parity import Hop, Parity, check_gates, compare, hop_json, make_hop
from .pictures import Picture, example_pictures
from .predictions import Prediction, coco_rows, predict_data, prediction_from_instances, read_record
from .report import Report, report_html, report_json, report_tables, write_report
from .runner import BenchOptions, Target, quick_options
from .tables import (
    Table,
    accuracy_table,
    accuracy_tables,
    hop_table,
    hop_tables,
    latency_table,
    markdown,
    phase_table,
    print_table,
    spread_table,
)

__all__ = [
    "AP_NAMES",
    "AR_NAMES",
    "NO_TRUTH",
    "Accuracy",
    "BackendLatency",
    "Bench",
    "BenchOptions",
    "CocoData",
    "CocoRecall",
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
    "accuracy_tables",
    "bench",
    "bench_json",
    "category_ids_for",
    "check_gates",
    "coco_ap",
    "coco_ar",
    "coco_rows",
    "compare",
    "environment",
    "example_pictures",
    "gpu_state",
    "has_gpu",
    "hop_between",
    "hop_json",
    "hop_table",
    "hop_tables",
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
