"""Evaluation without torch: COCO AP and AR, parity between artefacts, latency, and the report.

    load_coco -> predict_data -> coco_ap, coco_ar, compare   accuracy, and what each hop changed
    bench                                                    latency of several, interleaved
    measure_throughput, compare_runs, check_engines, floors  the bench's other tables
    Report -> write_report                                   report.html, .md and .json

Everything works on a `maskrt.runtime.Predictor`, whatever runs inside it.
"""

from .coco.accuracy import AP_NAMES, AR_NAMES, NO_TRUTH, Accuracy
from .coco.ap import coco_ap
from .coco.ar import CocoRecall, coco_ar
from .coco.data import CocoData, ImageRecord, category_ids_for, load_coco
from .coco.predictions import (
    Prediction,
    coco_rows,
    predict_data,
    prediction_from_instances,
    read_record,
)
from .machine.environment import environment, has_gpu, package_versions
from .machine.gpu import gpu_state
from .parity.gates import Hop, Parity, check_gates, compare, hop_json, make_hop
from .parity.hops import Measurement, hop_between, measure
from .report.page import (
    Report,
    report_html,
    report_json,
    report_markdown,
    report_tables,
    write_report,
)
from .report.pictures import Picture, example_pictures
from .report.tables import (
    Table,
    accuracy_table,
    accuracy_tables,
    batch_table,
    hop_table,
    hop_tables,
    latency_table,
    latency_tables,
    markdown,
    phase_table,
    print_table,
    spread_table,
)
from .timing.advice import recommendations
from .timing.floor import Floor, Work, floor_json, floor_table, floors, peak_json
from .timing.latency import BackendLatency, Bench, bench, bench_json
from .timing.peaks import Peak, Probe
from .timing.placement import Placement, placement_json, placement_of, placement_table
from .timing.regression import (
    ALLOWED,
    Regression,
    compare_runs,
    read_earlier,
    regression_json,
    regression_table,
    require_match,
)
from .timing.runner import Candidate
from .timing.throughput import Throughput, measure_throughput, throughput_json, throughput_table
from .timing.trtexec_check import TrtexecCheck, check_engines, trtexec_json, trtexec_table
from .timing.turns import BenchOptions, quick_options

__all__ = [
    "ALLOWED",
    "AP_NAMES",
    "AR_NAMES",
    "NO_TRUTH",
    "Accuracy",
    "BackendLatency",
    "Bench",
    "BenchOptions",
    "Candidate",
    "CocoData",
    "CocoRecall",
    "Floor",
    "Hop",
    "ImageRecord",
    "Measurement",
    "Parity",
    "Peak",
    "Picture",
    "Placement",
    "Prediction",
    "Probe",
    "Regression",
    "Report",
    "Table",
    "Throughput",
    "TrtexecCheck",
    "Work",
    "accuracy_table",
    "accuracy_tables",
    "batch_table",
    "bench",
    "bench_json",
    "category_ids_for",
    "check_engines",
    "check_gates",
    "coco_ap",
    "coco_ar",
    "coco_rows",
    "compare",
    "compare_runs",
    "environment",
    "example_pictures",
    "floor_json",
    "floor_table",
    "floors",
    "gpu_state",
    "has_gpu",
    "hop_between",
    "hop_json",
    "hop_table",
    "hop_tables",
    "latency_table",
    "latency_tables",
    "load_coco",
    "make_hop",
    "markdown",
    "measure",
    "measure_throughput",
    "package_versions",
    "peak_json",
    "phase_table",
    "placement_json",
    "placement_of",
    "placement_table",
    "predict_data",
    "prediction_from_instances",
    "print_table",
    "quick_options",
    "read_earlier",
    "read_record",
    "recommendations",
    "regression_json",
    "regression_table",
    "report_html",
    "report_json",
    "report_markdown",
    "report_tables",
    "require_match",
    "spread_table",
    "throughput_json",
    "throughput_table",
    "trtexec_json",
    "trtexec_table",
    "write_report",
]
