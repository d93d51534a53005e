"""What of a checkpoint must stay FP32, judged on pictures, as a precision file.

    checkpoint -> ONNX FP32 -> what it finds on N pictures: the reference
               -> FP16, each value rounded, same pictures -> gate -> search -> precision.json

The two metrics are eval's: `instances` asks for the share of matched instances and needs no
ground truth, `ap` for the greatest change of AP (AR of proposals). Candidates run wherever ONNX
files run, which needs no GPU.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..runtime.bundle import graph_paths
from ..runtime.errors import ExportError, InputError, SessionError
from .open import load
from .shipped import named_file

if TYPE_CHECKING:
    import onnx

    from ..eval import CocoData, Parity, Prediction
    from ..eval.coco.accuracy import Values
    from ..export.precision.search import Found, Verdict
    from ..runtime.contract import Contract

Metric = Literal["instances", "ap"]

LEAST_MATCHED = 0.98
"""Default gate of `instances`. Sound FP16 of the shipped networks matches all."""


@dataclass(frozen=True)
class Bisection:
    """What a search found, and where it was written."""

    precision_file: Path
    found: Found
    gate: float
    """Least matched share, or greatest change in points."""
    seconds: float


def bisect_precision(
    checkpoint: Path,
    out: Path,
    data: CocoData,
    metric: Metric = "instances",
    gate: float | None = None,
    *,
    on_step: Callable[[str], None] = lambda line: None,
) -> Bisection:
    """Search the node groups that must stay FP32 and write the precision file `out`.

    Args:
        checkpoint: `.safetensors` with its `.yaml`, or the name of a shipped one; or its FP32
            export, an `.onnx` file or a bundle, of which the first graph is tried.
        out: `.json` to write.
        data: the pictures; `ap` needs their ground truth.
        metric: see the module docstring.
        gate: least matched share in (0, 1], or greatest change in points; None: 0.98, or eval's
            FP16 gate.
        on_step: told what is being tried.

    Raises:
        InputError: an option is out of range, FP32 finds nothing to compare with, or an export is
            not one of FP32.
        ExportError: the checkpoint cannot be exported in FP32.
        GateError: no set of groups makes FP16 pass.
    """
    import onnx

    from ..export.precision.search import find_groups

    gate, checkpoint = _checked_gate(metric, gate), named_file(checkpoint)
    if out.suffix != ".json":
        raise InputError(f"{out}: a precision file ends in .json; found '{out.suffix}'. Rename it.")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder:
        path = Path(folder) / "fp32.onnx"
        contract = _fp32(graph_paths(checkpoint)[0], path)
        on_step(f"{contract.variant}: FP32 on {len(data.images)} pictures, the reference")
        judge = _Judge(path, contract, data, metric, gate)
        found = find_groups(onnx.load(path), judge, on_step)
    _write(out, found, contract, data, metric, gate)
    return Bisection(out, found, gate, time.monotonic() - started)


def _checked_gate(metric: Metric, gate: float | None) -> float:
    from ..eval.parity.gates import CHANGE_GATE

    if gate is None:
        return LEAST_MATCHED if metric == "instances" else CHANGE_GATE["fp16"]
    if metric == "instances" and not 0 < gate <= 1:
        raise InputError(f"--gate {gate}: expected a matched share above 0 and up to 1.")
    if not 0 <= gate <= 100:
        raise InputError(f"--gate {gate}: expected a change in points, 0 to 100.")
    return gate


def _fp32(model: Path, path: Path) -> Contract:
    """The FP32 graph of a checkpoint or an export, in one file at `path`."""
    if model.suffix.lower() != ".onnx":
        return _export_fp32(model, path)
    import onnx

    from ..engines.inline import read_exported

    graph, contract = read_exported(model)
    if contract.precision != "fp32":
        raise InputError(
            f"{model}: an export in {contract.precision}; expected FP32, from which groups go to "
            "FP16. Name the checkpoint, or its FP32 export."
        )
    onnx.save(graph, path)
    return contract


def _export_fp32(checkpoint: Path, path: Path) -> Contract:
    from ..export.to_onnx import export

    try:
        (report,) = export(checkpoint, {"fp32": path})
    except ExportError as err:
        raise ExportError(
            f"{checkpoint}: its FP32 export fails, so no choice of precision repairs it: {err}"
        ) from err
    return report.contract


class _Judge:
    """Compares candidates with the FP32 reference, on the same pictures."""

    def __init__(
        self, reference: Path, contract: Contract, data: CocoData, metric: Metric, gate: float
    ) -> None:
        """Measure the reference; InputError when it leaves nothing to compare with."""
        self._folder = reference.parent
        self._contract = dataclasses.replace(contract, precision="fp16")
        self._data = data
        self._metric = metric
        self._gate = gate
        self._reference = self._measured(reference)
        self._check_reference()

    def __call__(self, model: onnx.ModelProto) -> Verdict:
        """The verdict on one candidate in memory; NaN and infinite outputs fail."""
        from onnx import helper, save

        from ..export.precision.search import Verdict
        from ..runtime.contract import METADATA_KEY

        path = self._folder / "candidate.onnx"
        helper.set_model_props(model, {METADATA_KEY: self._contract.to_json()})
        save(model, path)
        try:
            parity = self._parity(self._measured(path))
        except SessionError as err:  # the reference ran without one: it is these numbers
            return Verdict(passed=False, figures={}, reason=str(err).split(";")[0])
        figures = _changes(parity) if self._metric == "ap" else _matched(parity)
        value = next(iter(figures.values()))
        passed = value <= self._gate if self._metric == "ap" else value >= self._gate
        return Verdict(passed, figures)

    def _measured(self, path: Path) -> tuple[list[Prediction], Values | None]:
        from ..eval import measure, predict_data

        with load(path) as predictor:
            if self._metric == "instances":
                return predict_data(predictor, self._data), None
            result = measure(predictor, path, self._data)
        return result.predictions, {"box": result.accuracy.box, "mask": result.accuracy.mask}

    def _parity(self, candidate: tuple[list[Prediction], Values | None]) -> Parity:
        from ..eval import compare
        from ..eval.coco.accuracy import metric_of

        return compare(
            self._reference[0],
            candidate[0],
            slots=self._contract.output("scores").shape[1],
            metric=metric_of(self._contract.task),
            reference_values=self._reference[1],
            candidate_values=candidate[1],
        )

    def _check_reference(self) -> None:
        parity = self._parity(self._reference)
        where = f"{self._contract.variant} in FP32, {parity.images} pictures of {self._data.folder}"
        if parity.reference_counted == 0:
            raise InputError(
                f"{where}: nothing of score 0.1 or more found; expected some, which candidates are "
                "compared by. Train it first, or name other pictures."
            )
        if self._metric == "ap" and None in parity.box_changes.values():
            raise InputError(
                f"{where}: no ground truth on them; expected some for --metric ap. Take more "
                "pictures, or --metric instances."
            )


def _matched(parity: Parity) -> dict[str, float]:
    return {
        "matched": parity.matched,
        "score_delta_mean": parity.score_delta_mean,
        "score_delta_max": parity.score_delta_max,
        "box_delta_mean_px": parity.box_delta_mean_px,
        "box_delta_max_px": parity.box_delta_max_px,
        "mask_iou_mean": parity.mask_iou_mean,
    }


def _changes(parity: Parity) -> dict[str, float]:
    """Changes in points, the greatest first."""
    changes = {f"box {name}": change for name, change in parity.box_changes.items()}
    changes |= {f"mask {name}": change for name, change in parity.mask_changes.items()}
    known = {name: change for name, change in changes.items() if change is not None}
    return {f"greatest {parity.metric} change": max(map(abs, known.values())), **known}


def _write(
    out: Path, found: Found, contract: Contract, data: CocoData, metric: Metric, gate: float
) -> None:
    from ..export.precision.precision_file import PrecisionFile, write_precision_file

    content = PrecisionFile(
        checkpoint_sha256=contract.checkpoint_sha256,
        groups=tuple(found.costs),
        model=contract.variant,
        metric=metric,
        gate=gate,
        pictures={"data": data.folder.name, "split": data.split, "count": len(data.images)},
        before=dataclasses.asdict(found.before),
        after=dataclasses.asdict(found.after),
        fp16_mac_share=found.fp16_mac_share,
        costs={name: dataclasses.asdict(cost) for name, cost in found.costs.items()},
        evaluations=found.evaluations,
        versions=contract.versions,
    )
    write_precision_file(out, content)
