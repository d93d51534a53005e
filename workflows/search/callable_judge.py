"""Candidates of a search judged by a function that a user wrote, for graphs that are not ours.

    def score(model):                                # in yours.py: --metric yours.py:score
        outputs = model({"x": pictures})             # arrays in, arrays out, as often as needed
        return float((outputs["y"].argmax(1) == labels).mean())          # higher is better

The function is called once for every candidate. What it feeds to the FP32 graph is kept, so that
INT8 ranges and largest values come from the same inputs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError, SessionError, first_line
from ...runtime.files import require_file

if TYPE_CHECKING:
    import onnx

    from ...export.search.verdict import Verdict

Arrays = dict[str, npt.NDArray[Any]]
Model = Callable[[Mapping[str, npt.NDArray[Any]]], Arrays]
Score = Callable[[Model], float]

KEPT = 64
"""Calls whose inputs are kept, for INT8 ranges; of as many as pictures of a calibration."""


def load_score(text: str) -> tuple[Score, Path]:
    """The function that FILE.py:NAME names, and its file.

    Raises:
        InputError: no such file, it cannot be imported, or it has no such function.
    """
    file, _, name = text.rpartition(":")
    path = require_file(Path(file), "a metric's file", (".py",))
    spec = importlib.util.spec_from_file_location(f"maskrt_metric_{path.stem}", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as err:  # whatever a user's file raises
        raise InputError(
            f"{path}: importing it raised {type(err).__name__} ({first_line(err)}); expected a "
            f"file with a function {name}(model). Correct it."
        ) from err
    score = getattr(module, name, None)
    if not callable(score):
        raise InputError(
            f"{path}: no function '{name}' found; expected one that takes a model and returns a "
            "number, higher is better. Correct the name behind the colon."
        )
    return score, path


class CallableJudge:
    """Compares the scores of candidates with that of the FP32 graph."""

    def __init__(self, model: onnx.ModelProto, score: Score, where: str, gate: float) -> None:
        """Score the FP32 graph; `where` names the function in errors, `gate` is the greatest loss.

        Raises:
            InputError: the function fails, calls nothing or gives no number.
            SessionError: ONNX Runtime cannot run the graph.
        """
        self._score, self._where, self._gate = score, where, gate
        run = _Running(model)
        self.reference = self._scored(run)
        self.feeds = run.feeds
        self._outputs = run.outputs
        if not self.feeds:
            raise InputError(
                f"{where}: it returned {self.reference:g} without calling the model; expected it "
                'to run the model, as in outputs = model({"x": array}). Correct it.'
            )

    def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
        """The verdict on one candidate; a NaN or infinite output where FP32 has none fails."""
        from ...export.precision.emulation import emulated
        from ...export.search.verdict import Verdict

        run = _Running(emulated(model))
        try:
            score = self._scored(run)
        except InputError:
            if run.is_finite:
                raise
            score = -np.inf
        if not run.is_finite and all(map(_is_finite, self._outputs)):
            return Verdict(False, {}, f"output '{run.not_finite}' holds NaN or infinity")
        loss = self.reference - score
        moved = _moved(self._outputs, run.outputs)
        figures = {"loss": loss, "score": score, "moved": abs(loss) if moved is None else moved}
        return Verdict(loss <= self._gate, figures)

    def _scored(self, run: _Running) -> float:
        try:
            value = float(self._score(run))
        except SessionError:
            raise
        except Exception as err:  # whatever a user's function raises
            raise InputError(
                f"{self._where}: it raised {type(err).__name__} ({first_line(err)}); expected a "
                "number, higher is better. Correct it."
            ) from err
        if not np.isfinite(value):
            raise InputError(
                f"{self._where}: it returned {value}; expected a finite number, higher is better. "
                "Correct it."
            )
        return value


@dataclass
class _Running:
    """A graph as the user's function calls it; the first calls are kept."""

    model: onnx.ModelProto
    feeds: list[Arrays] = field(default_factory=list)
    outputs: list[Arrays] = field(default_factory=list)
    not_finite: str = ""

    def __post_init__(self) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:  # its errors have no common base but Exception
            raise SessionError(
                f"{self.model.graph.name}: ONNX Runtime cannot open the graph "
                f"({first_line(err)}); expected one that it runs. Try it in ONNX Runtime alone."
            ) from err
        self._names = [output.name for output in self._session.get_outputs()]

    @property
    def is_finite(self) -> bool:
        return not self.not_finite

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Outputs by name."""
        outputs = dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))
        if len(self.feeds) < KEPT:
            self.feeds.append(dict(inputs))
            self.outputs.append(outputs)
        bad = next((name for name, value in outputs.items() if not _is_finite({"": value})), "")
        self.not_finite = self.not_finite or bad
        return outputs


def _is_finite(outputs: Arrays) -> bool:
    return all(
        bool(np.isfinite(value).all()) for value in outputs.values() if value.dtype.kind == "f"
    )


def _moved(reference: list[Arrays], candidate: list[Arrays]) -> float | None:
    """Mean change of float outputs as a share of their mean size; None where they do not pair."""
    if len(reference) != len(candidate):
        return None
    changes = []
    for before, after in zip(reference, candidate, strict=True):
        for name, value in before.items():
            if value.dtype.kind != "f":
                continue
            if value.shape != after[name].shape:
                return None
            size = float(np.abs(value).mean()) or 1.0
            changes.append(float(np.abs(value - after[name]).mean()) / size)
    return float(np.mean(changes)) if changes else None
