"""A search before its first candidate: the FP32 graph, its reference, its groups, its ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ...runtime.errors import InputError
from .callable_judge import CallableJudge, load_score
from .graphs import Subject, any_graph, own_graph
from .judge import FEW, Metric, PictureJudge
from .options import Asked, is_function
from .written import labelled_sha256, pictures_sha256

if TYPE_CHECKING:
    from ...eval import CocoData
    from ...export.precision.groups import Group, Kept
    from ...export.precision.mixture import GroupPrecision
    from ...export.search.certificate import Calibration
    from ...export.search.verdict import Judge

Feeds = Sequence[Mapping[str, npt.NDArray[Any]]]
Named = dict[str, Any]
"""A set of inputs as a certificate names it: data, split, count, sha256."""


@dataclass(frozen=True)
class Judged:
    """A graph and who judges its candidates."""

    subject: Subject
    judge: Judge
    feeds: Callable[[], Feeds]
    """Some inputs of the graph."""
    named: Named
    """What it is judged on."""


@dataclass(frozen=True)
class Opened:
    """All that a search needs but times."""

    judged: Judged
    tree: Group
    able: dict[GroupPrecision, Kept]
    """The groups that INT8 and FP8 can take."""
    fullest: dict[str, float]
    """The largest |x| / 65504 of each group's results on a few inputs."""
    ranges: dict[str, float]
    calibration: Calibration | None

    @property
    def overflowing(self) -> Kept:
        """The groups whose values FP16 does not hold."""
        return frozenset(name for name, share in self.fullest.items() if share >= 1)


def open_search(judged: Judged, data: CocoData | None, asked: Asked) -> Opened:
    """The groups of a graph, and its ranges where INT8 or FP8 may be chosen.

    Raises:
        InputError: nothing in it can take another precision, or calibration has no pictures.
    """
    from ...export.precision.exemptions import quantizable
    from ...export.precision.groups import group_tree
    from ...export.search.overflow import fullest_values

    model = judged.subject.model
    tree = group_tree(model)
    if not tree.names:
        raise InputError(
            f"{judged.subject.name}: no node that another precision could take found; expected "
            "convolutions or matrix products with stored weights. Name another file."
        )
    able: dict[GroupPrecision, Kept] = {}
    for level in asked.levels:
        if level != "fp32" and level != "fp16":  # noqa: PLR1714 (mypy narrows so)
            able[level] = quantizable(model, level)
    fullest = fullest_values(model, tree.names, judged.feeds()) if "fp16" in asked.levels else {}
    if not able:
        return Opened(judged, tree, able, fullest, {}, None)
    ranges, calibration = _ranges(judged, data, asked)
    return Opened(judged, tree, able, fullest, ranges, calibration)


def judged_on_pictures(model: Path, data: CocoData | None, asked: Asked) -> Judged:
    """A checkpoint or its FP32 export, judged on labelled pictures.

    Raises:
        InputError: no pictures, FP32 finds nothing on them, or an export is not one of FP32.
        ExportError: the checkpoint cannot be exported.
    """
    if data is None:
        raise InputError(
            f"--metric {asked.metric}: no labelled pictures named; expected some to measure on. "
            "Name a folder with --data, or a function as --metric FILE.py:FUNCTION."
        )
    subject = own_graph(model, asked.folder / FP32)
    asked.say(f"{subject.name}: FP32 on {len(data.images)} pictures, the reference")
    judge = judge_of(subject, data, asked)
    return Judged(subject, judge, lambda: _pictures(subject, data), named(data))


def judge_of(subject: Subject, data: CocoData, asked: Asked) -> PictureJudge:
    """Who judges candidates of a graph of ours on some pictures; InputError as `PictureJudge`."""
    assert subject.contract is not None, "own graphs have one"
    metric: Metric = "ap" if asked.metric == "ap" else "instances"
    reference = asked.folder / FP32
    return PictureJudge(reference, subject.contract, data, metric, asked.gate, asked.session)


def judged_by_function(model: Path, asked: Asked) -> Judged:
    """Any FP32 ONNX file, judged by FILE.py:FUNCTION.

    Raises:
        InputError: the file or the function is not usable.
        SessionError: ONNX Runtime cannot run the file.
    """
    from ...runtime.files import sha256_of

    score, file = load_score(asked.metric)
    subject = any_graph(model)
    judge = CallableJudge(subject.model, score, asked.metric, asked.gate)
    asked.say(f"{subject.name}: FP32 scores {judge.reference:g}, the reference")
    names = {"data": file.name, "split": "", "count": len(judge.feeds)}
    return Judged(subject, judge, lambda: judge.feeds, names | {"sha256": sha256_of(file)})


def named(data: CocoData) -> Named:
    """A set of pictures."""
    return {
        "data": data.folder.name,
        "split": data.split,
        "count": len(data.images),
        "sha256": labelled_sha256(data),
    }


def _ranges(
    judged: Judged, data: CocoData | None, asked: Asked
) -> tuple[dict[str, float], Calibration]:
    """Of a graph of ours from train pictures, of any other from what the function fed to it."""
    from ...export.precision.calibration import calibrated, few_pictures, ranges_over
    from ...export.search.certificate import Calibration

    subject = judged.subject
    if data is None or subject.contract is None:
        feeds, where = judged.feeds(), judged.named
        ranges = ranges_over(subject.model, feeds, len(feeds))
        return ranges, Calibration(where["data"], len(feeds), where["sha256"])
    folder = asked.calibrating.folder or data.folder
    pictures = _train_pictures(folder, asked.calibrating.images)
    if few := few_pictures(len(pictures)):
        asked.say(f"{folder}: {few}")
    ranges = calibrated(subject.model, subject.contract, pictures)
    return ranges, Calibration(folder.name, len(pictures), pictures_sha256(pictures))


def _train_pictures(folder: Path, images: int) -> list[Path]:
    from ...eval.datasets.source import DataSource
    from ..data import load_data

    found = load_data(DataSource(folder, lenient=True), "train", images)
    return [record.path for record in found.images]


def _pictures(subject: Subject, data: CocoData) -> Feeds:
    """The first pictures as the graph takes them."""
    from ...eval import read_record
    from ...export.precision.headroom import batches_of

    assert subject.contract is not None, "own graphs have one"
    return list(batches_of([read_record(r) for r in data.images[:FEW]], subject.contract))


def judged_anyhow(model: Path, data: CocoData | None, asked: Asked) -> Judged:
    """By a function or on pictures, as the metric says; errors as both."""
    if is_function(asked.metric):
        return judged_by_function(model, asked)
    return judged_on_pictures(model, data, asked)


FP32 = "fp32.onnx"
"""The reference's graph in a search's folder."""
