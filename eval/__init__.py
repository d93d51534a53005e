"""Evaluation without torch: COCO AP and AR, parity between artefacts, latency, and the report.

    load_coco -> predict_data -> coco_ap, coco_ar, compare   accuracy, and what each hop changed
    bench                                                    latency of several, interleaved
    measure_throughput, compare_runs, check_engines, floors  the bench's other tables
    Report -> write_report                                   report.html, .md and .json

Everything works on a `maskrt.runtime.Predictor`, whatever runs inside it. Results are frozen
dataclasses; `to_json` makes plain JSON values of any of them.
"""

from .coco.accuracy import AP_NAMES, AR_NAMES, NO_TRUTH, Accuracy
from .coco.ap import CocoPrecision, coco_ap
from .coco.ar import CocoRecall, coco_ar
from .coco.data import CocoData, load_coco
from .coco.pictures import ImageRecord, read_record
from .coco.predictions import Prediction, coco_rows, predict_data, prediction_from_instances
from .datasets.source import DataSource
from .machine.environment import environment, has_gpu
from .machine.gpu import gpu_state
from .parity.comparison import Parity, compare
from .parity.gates import Hop, check_gates
from .parity.hops import Measurement, hop_between, measure
from .report.accuracy_tables import accuracy_tables, hop_tables
from .report.latency_tables import latency_tables
from .report.page import Report, report_tables, require_report, write_report
from .report.pictures import Picture, example_pictures
from .report.plain import to_json
from .report.table import Table, markdown, print_table
from .timing.advice import recommendations
from .timing.floor import Floor, Work, floor_table, floors
from .timing.latency import BackendLatency, Bench, bench
from .timing.peaks import Peak, Probe
from .timing.placement import Placement, placement_of, placement_table
from .timing.regression import (
    ALLOWED,
    Regression,
    compare_runs,
    read_earlier,
    regression_table,
    require_match,
)
from .timing.runner import Candidate
from .timing.throughput import Throughput, measure_throughput, throughput_table
from .timing.trtexec_check import TrtexecCheck, check_engines, trtexec_table
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
    "CocoPrecision",
    "CocoRecall",
    "DataSource",
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
    "accuracy_tables",
    "bench",
    "check_engines",
    "check_gates",
    "coco_ap",
    "coco_ar",
    "coco_rows",
    "compare",
    "compare_runs",
    "environment",
    "example_pictures",
    "floor_table",
    "floors",
    "gpu_state",
    "has_gpu",
    "hop_between",
    "hop_tables",
    "latency_tables",
    "load_coco",
    "markdown",
    "measure",
    "measure_throughput",
    "placement_of",
    "placement_table",
    "predict_data",
    "prediction_from_instances",
    "print_table",
    "quick_options",
    "read_earlier",
    "read_record",
    "recommendations",
    "regression_table",
    "report_tables",
    "require_match",
    "require_report",
    "throughput_table",
    "to_json",
    "trtexec_table",
    "write_report",
]
