"""What an artefact's accuracy is: average precision of instances, average recall of proposals.

Both are COCO's numbers on the 0-100 scale, of boxes and of masks, and everything after the metric
(gates, tables, report) works on this one value; `metric` says which numbers it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...runtime.contract import Task

Kind = Literal["box", "mask"]
Metric = Literal["AP", "AR"]
Values = dict[str, dict[str, float]]
"""By kind, then by name: {"box": {"AP": 41.5, ...}, "mask": {...}}."""

KINDS: tuple[Kind, Kind] = ("box", "mask")
NO_TRUTH = -1.0
"""COCOeval's value where no ground truth falls in a class, e.g. no small object; shown as n/a."""
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""COCOeval's first six numbers: IoU 0.50:0.95, 0.50, 0.75, then by size at 0.50:0.95."""
LVIS_NAMES = (*AP_NAMES, "APr", "APc", "APf")
"""LVIS's federated AP, then that of rare, common and frequent classes."""
AR_NAMES = ("AR@10", "AR@100", "AR@1000", "ARs", "ARm", "ARl")
"""Recall over IoU 0.50:0.95 of the best 10, 100, 1000 proposals; by size, of the best 100."""

NAMES: dict[Metric, tuple[str, ...]] = {"AP": AP_NAMES, "AR": AR_NAMES}
GATED: dict[Metric, tuple[str, ...]] = {"AP": ("AP",), "AR": AR_NAMES[:3]}
"""What a hop may not change by more than its gate."""
HEADLINE: dict[Metric, str] = {"AP": "AP", "AR": "AR@100"}
"""The one number where there is room for one."""


@dataclass(frozen=True)
class Accuracy:
    """The measured accuracy of one artefact, as tables and the report show it."""

    name: str
    """What the reader calls it, e.g. `lsc_mask_rcnn_tiny.onnx`."""
    backend: str
    precision: str
    sha256: str
    """Of the artefact's file: a latency is shown beside the accuracy of the same bytes only."""
    images: int
    box: dict[str, float]
    """By the names of `NAMES[metric]`, in [0, 100] or `NO_TRUTH`."""
    mask: dict[str, float]
    """The same of masks; empty of a model that gives boxes alone."""
    metric: Metric = "AP"
    """AP of instances, AR of proposals."""
    recalls: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Proposals only: by kind and by `AR@10`, `AR@100`, `AR@1000`, the recall in [0, 100] at each
    IoU threshold 0.50:0.05:0.95; empty where there is no ground truth."""
    crowded: int = 0
    """AP only: pictures with more than 100 objects of one class, COCO's limit of detections."""
    boundary: dict[str, float] = field(default_factory=dict)
    """AP only, where it was asked for: of masks by boundary IoU, as `mask`; else empty."""
    lvis: Values = field(default_factory=dict)
    """AP only, where it was asked for: LVIS's federated AP by kind and `LVIS_NAMES`; else empty."""
    evaluator: str = "pycocotools"
    """What matched detections with objects, of those in `matching.evaluators`."""

    @property
    def kinds(self) -> dict[Kind, dict[str, float]]:
        """What was measured: boxes, and masks where the model gives any."""
        return {"box": self.box, "mask": self.mask} if self.mask else {"box": self.box}

    @property
    def headline(self) -> str:
        """Name of the one number to show where there is room for one."""
        return HEADLINE[self.metric]

    @property
    def measured(self) -> dict[str, float]:
        """What is worth keeping in a contract: {"box_ap": ..., "mask_ap": ...}, or box_ar_10 ..."""
        return {
            measured_name(kind, name): values[name]
            for kind, values in self.kinds.items()
            for name in GATED[self.metric]
        }


def measured_name(kind: Kind, name: str) -> str:
    """What `Accuracy.measured` calls a number: `mask_ar_100` for masks' AR@100."""
    return f"{kind}_{name.lower().replace('@', '_')}"


def metric_of(task: Task) -> Metric:
    """The metric of a contract's task."""
    return "AR" if task == "proposals" else "AP"
