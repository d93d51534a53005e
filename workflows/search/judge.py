"""Candidates of a search held against FP32 on the same labelled pictures.

The two metrics are eval's: `ap` asks for the greatest change of AP (AR of proposals) and eval's
other gates, `instances` for the share of matched instances and needs no ground truth. Candidates
run in ONNX Runtime on the CPU with every tensor rounded as their files say, or, in a session that
was named, as they stand.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...runtime.contract import METADATA_KEY
from ...runtime.errors import InputError, SessionError
from ...runtime.sessions.open import SESSIONS, ModelRef, check_session
from ..graph_precision import typed_as
from ..measure import measured, opened_to_measure
from ..open import open_model
from .options import is_function

if TYPE_CHECKING:
    import onnx

    from ...eval import CocoData, Measurement, Parity, Prediction
    from ...export.search.verdict import Verdict
    from ...runtime.contract import Contract, Precision

Metric = Literal["instances", "ap"]

FEW = 16
"""Pictures that rank groups: they hold hundreds of instances, of which no AP is asked."""


@dataclass(frozen=True)
class _Results:
    """What one model found, with its AP where the metric asks for it."""

    predictions: list[Prediction]
    measurement: Measurement | None


class PictureJudge:
    """Compares candidates with the FP32 reference, on the same pictures."""

    def __init__(
        self,
        reference: Path,
        contract: Contract,
        data: CocoData,
        metric: Metric,
        gate: float,
        session: str | None = None,
    ) -> None:
        """Measure the reference at `reference`, beside which candidates are written.

        Raises:
            InputError: it leaves nothing to compare with.
            SessionError: `session` does not run it here.
        """
        self._folder = reference.parent
        self._contract = contract
        self._metric = metric
        self._gate = gate
        self._session = session
        self._data = {False: data, True: data.first(FEW)}
        if session is not None:
            open_model(ModelRef(reference, _opened_in(session, "fp32"))).close()
        whole = self._measured(ModelRef(reference), few=False)
        self._references = {False: whole, True: self._of_few(reference, whole)}
        self._check_reference()

    def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
        """The verdict on one candidate in memory; NaN and infinite outputs fail."""
        from ...export.search.verdict import Verdict

        path = self._folder / "candidate.onnx"
        try:
            found = self._measured(self._written(model, path), few)
        except SessionError as err:  # the reference ran without one: it is these numbers
            return Verdict(passed=False, figures={}, reason=str(err).split(";")[0])
        finally:
            path.unlink(missing_ok=True)  # a full disk may have refused it
        return self._judged(found, few)

    def _written(self, model: onnx.ModelProto, path: Path) -> ModelRef:
        """A candidate as it is measured, in a file."""
        from onnx import helper, save

        from ...export.precision.emulation import emulated

        contract = typed_as(model, self._contract)
        if self._session is None:  # FP32 that rounds, which nobody is to round once more
            contract, model = self._contract, emulated(model)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        helper.set_model_props(model, kept | {METADATA_KEY: contract.to_json()})
        save(model, path)
        return ModelRef(path, _opened_in(self._session, contract.precision))

    def _judged(self, found: _Results, few: bool) -> Verdict:
        from ...export.search.verdict import Verdict

        parity = self._parity(found, few)
        moved = {"moved": parity.score_delta_mean + 1 - parity.mask_iou_mean}
        if self._metric == "instances":
            return Verdict(parity.matched >= self._gate, _matched(parity) | moved)
        from ...eval import check_gates

        figures = _changes(parity)
        # What is 0 on the reference says nothing; that something is not was checked at first.
        failures = check_gates(dataclasses.replace(parity, baseless=()), "fp16", self._gate)
        held = next(iter(figures.values()), 0.0) <= self._gate
        return Verdict(
            passed=not failures,
            figures=figures | moved | {"matched": parity.matched} | self._sure(found, few),
            reason=failures[0].rstrip(".") if failures and held else "",
            intervals={name: ends for name, ends in parity.intervals.items() if ends is not None},
        )

    def _sure(self, found: _Results, few: bool) -> dict[str, float]:
        """Of resampled sets of pictures, the share in which every change holds the gate."""
        import numpy as np

        from ...eval.parity.intervals import MIN_PICTURES, resampled_changes

        reference = self._references[few].measurement
        if found.measurement is None or reference is None or len(found.predictions) < MIN_PICTURES:
            return {}
        changes = resampled_changes(reference.matches, found.measurement.matches)
        every = [sets for by_name in changes.values() for sets in by_name.values()]
        return {"sure": float(np.all(np.abs(np.nan_to_num(every)) <= self._gate, axis=0).mean())}

    def _measured(self, model: ModelRef, few: bool) -> _Results:
        from ...eval import predict_data

        if self._metric == "ap":
            found = measured(model, self._data[few])
            return _Results(found.predictions, found)
        with opened_to_measure(model) as (predictor, _):
            return _Results(predict_data(predictor, self._data[few]), None)

    def _of_few(self, path: Path, whole: _Results) -> _Results:
        """The reference on the few: its first predictions, so it runs once."""
        from ...eval.parity.hops import measurement_of

        few = whole.predictions[:FEW]
        if whole.measurement is None:
            return _Results(few, None)
        contract, backend = whole.measurement.contract, whole.measurement.accuracy.backend
        found = measurement_of(few, contract, backend, path, self._data[True])
        return _Results(few, found)

    def _parity(self, candidate: _Results, few: bool) -> Parity:
        from ...eval import compare
        from ...eval.coco.accuracy import metric_of
        from ...eval.parity.hops import hop_between

        reference = self._references[few]
        if reference.measurement is not None and candidate.measurement is not None:
            return hop_between(reference.measurement, candidate.measurement, "fp16").parity
        return compare(
            reference.predictions,
            candidate.predictions,
            slots=self._contract.output("scores").shape[1],
            metric=metric_of(self._contract.task),
        )

    def _check_reference(self) -> None:
        parity = self._parity(self._references[False], few=False)
        data = self._data[False]
        where = f"{self._contract.variant} in FP32, {parity.images} pictures of {data.folder}"
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
        if self._metric == "ap" and len(parity.baseless) == len(parity.changes):
            raise InputError(
                f"{where}: {', '.join(parity.baseless)} is 0; expected more, of which a change "
                "says something. Train it first, or take --metric instances."
            )


def require_session(session: str | None, metric: str) -> None:
    """Refuse a session that no `.onnx` file opens in, or that a function leaves unused.

    Raises:
        InputError: as said.
    """
    if session is None:
        return
    if is_function(metric):
        raise InputError(
            f"--session {session}: --metric {metric} found; expected ap or instances, whose "
            "pictures run in a session. Leave it away."
        )
    check_session(Path("candidate.onnx"), session, tuple(SESSIONS[".onnx"]))


def _opened_in(session: str | None, precision: Precision) -> str | None:
    """ONNX Runtime's integer kernels take no file without INT8: that runs beside them."""
    is_without = session == "onnxruntime-int8" and precision != "int8"
    return "onnxruntime-cpu" if is_without else session


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
    known = {name: change for name, change in parity.changes.items() if change is not None}
    greatest = max(map(abs, known.values()), default=0.0)
    return {f"greatest {parity.metric} change": greatest, **known}
