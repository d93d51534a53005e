"""Which precision every node group of a model computes in: searched, certified, written.

    checkpoint -> ONNX FP32 -> what it finds on N pictures: the reference
               -> groups in other precisions, every tensor rounded, same pictures -> gate -> ...
               -> precision.json

`bisect` is the same search with FP32 and FP16 alone. Graphs that are not ours are judged by a
function of the user's (callable_judge.py).
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.errors import InputError
from ..data import require_at_least_one
from .certified import certificate_of, verified_on
from .judge import Metric, require_session
from .opening import Opened, judged_anyhow, open_search
from .options import Asked, Calibrating, Say, checked_gate, is_function, ordered_levels
from .timing import group_times, read_profile
from .written import key_of

if TYPE_CHECKING:
    from ...eval import CocoData
    from ...export.precision.mixture import GroupPrecision
    from ...export.roofline.gpus import Gpu
    from ...export.search.certificate import Certificate
    from ...export.search.journal import Journal
    from ...export.search.precision_file import PrecisionFile
    from ...export.search.trials import Trials


@dataclass(frozen=True)
class Searched:
    """What a search found, and where it was written."""

    path: Path
    content: PrecisionFile
    certificate: Certificate
    gate: float
    known: int
    """Verdicts that an earlier run had left."""
    seconds: float


def bisect_precision(
    model: Path,
    out: Path,
    data: CocoData | None = None,
    metric: Metric | str = "instances",
    gate: float | None = None,
    *,
    on_step: Say = lambda line: None,
) -> Searched:
    """Search the node groups that must stay FP32 and write the precision file `out`.

    Args:
        model: `.safetensors` with its `.yaml`, or the name of a shipped one; or its FP32 export, an
            `.onnx` file or a bundle, of which the first graph is tried. With a function as metric
            any FP32 `.onnx` file.
        out: `.json` to write; `.journal` beside it keeps verdicts for an interrupted search.
        data: the pictures; `ap` needs their ground truth, a function needs none.
        metric: `instances`, `ap`, or FILE.py:FUNCTION.
        gate: least matched share in (0, 1], greatest change in points, or greatest loss of the
            function's number; None: 0.98, 0.3, or none at all for a function, which needs one.
        on_step: told what is being tried.

    Raises:
        InputError: an option is out of range, FP32 finds nothing to compare with, or an export is
            not one of FP32.
        ExportError: the checkpoint cannot be exported in FP32.
        GateError: no set of groups makes FP16 pass.
    """
    return search_precision(
        model, out, data, metric, gate, precisions=("fp32", "fp16"), gpu=None, on_step=on_step
    )


def search_precision(
    model: Path,
    out: Path,
    data: CocoData | None = None,
    metric: Metric | str = "ap",
    gate: float | None = None,
    *,
    precisions: Sequence[GroupPrecision] = ("fp32", "fp16", "int8"),
    gpu: str | None = "l4",
    profiles: Sequence[Path] = (),
    calibrating: Calibrating = Calibrating(),  # noqa: B008 (frozen value)
    verify: Sequence[CocoData] = (),
    html: Path | None = None,
    write: Path | None = None,
    session: str | None = None,
    on_step: Say = lambda line: None,
) -> Searched:
    """Search the fastest precision of every node group and write the precision file `out`.

    Args:
        model: as `bisect_precision` takes it.
        out: as there.
        data: as there.
        metric: as there.
        gate: as there.
        precisions: that may be chosen, two or more of fp32, fp16, int8 and fp8.
        gpu: whose data sheet gives the times; None: groups are taken by their work alone, which
            INT8 and FP8 cannot do without.
        profiles: layer profiles of engines in one or more of the precisions, which take the place
            of the data sheet's times.
        calibrating: where INT8 and FP8 take their ranges from; a function's own inputs are taken.
        verify: other pictures that the result is measured on, into the certificate alone.
        html: page to write, with a plot of change against time of all that was tried.
        write: `.onnx` to write in the precisions found, of a graph that is not ours.
        session: of an `.onnx` file, as `load` takes it: candidates run in it as their files stand,
            in what it makes of them (OpenVINO: BF16 of FP16). None runs them in ONNX Runtime on
            the CPU, with every tensor rounded as the file says.
        on_step: told what is being tried.

    Raises:
        InputError, ExportError, GateError: as `bisect_precision`.
        SessionError: `session` does not run here.
    """
    levels = ordered_levels(precisions)
    gate = checked_gate(metric, gate)
    require_session(session, metric)
    _require_names(metric, out, gpu, verify, write, levels)
    _require_page(out, html)
    require_at_least_one(calibration_images=calibrating.images)
    sheet, read = _gpu(gpu), tuple(map(read_profile, profiles))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskrt-") as name:
        asked = Asked(
            folder=Path(name),
            metric=metric,
            gate=gate,
            levels=levels,
            gpu=sheet,
            profiles=read,
            calibrating=calibrating,
            verify=tuple(verify),
            session=session,
            say=on_step,
        )
        judged = judged_anyhow(model, data, asked)
        done = _searched(open_search(judged, data, asked), asked, out, write)
    done = dataclasses.replace(done, seconds=time.monotonic() - started)
    if html is not None:
        from .page import write_page

        write_page(done, html)
    return done


def _searched(opened: Opened, asked: Asked, out: Path, write: Path | None) -> Searched:
    from ...export.search.precision_file import write_precision_file
    from ...export.search.search import rest_of
    from ...export.search.trials import Trials

    journal, versions = _journal(opened, asked, out)
    subject = opened.judged.subject
    rest = rest_of(asked.levels)
    trials = Trials(
        subject.model, opened.judged.judge, opened.ranges, journal, asked.say, rest=rest
    )
    content = _content(opened, asked, trials, journal, versions)
    if write is not None:
        _write_mixed(write, trials, content)
    write_precision_file(out, content)
    assert content.certificate is not None, "just made"
    return Searched(out, content, content.certificate, asked.gate, journal.found, 0.0)


def _journal(opened: Opened, asked: Asked, out: Path) -> tuple[Journal, dict[str, str]]:
    """The journal beside `out`, of this very search, and the versions that it holds for."""
    from ...eval.machine.environment import package_versions
    from ...export.search.journal import Journal

    versions = package_versions()
    key = key_of(
        model=opened.judged.subject.sha256,
        set=opened.judged.named,
        metric=asked.metric,
        gate=asked.gate,
        session=asked.session,
        ranges=opened.ranges,
        versions=versions,
    )
    path = out.with_suffix(".journal")
    journal = Journal(path, key)
    if journal.found:
        asked.say(f"{path}: {journal.found} verdicts of an earlier run are taken from it")
    return journal, versions


def _content(
    opened: Opened, asked: Asked, trials: Trials, journal: Journal, versions: dict[str, str]
) -> PrecisionFile:
    from ...export.search.precision_file import PrecisionFile
    from ...export.search.search import find_mixture

    times = group_times(opened, trials, asked.levels, asked.gpu, asked.profiles)
    found = find_mixture(trials, opened.tree, asked.levels, opened.able, times, opened.overflowing)
    verified = verified_on(opened, found, asked, journal)
    mixture = trials.mixture(found.choice)
    return PrecisionFile(
        checkpoint_sha256=opened.judged.subject.sha256,
        groups=dict(sorted(mixture.groups.items())),
        rest=mixture.rest,
        ranges=dict(sorted(mixture.ranges.items())),
        certificate=certificate_of(
            opened, trials, found, times, asked, verified=verified, versions=versions
        ),
    )


def _write_mixed(path: Path, trials: Trials, content: PrecisionFile) -> None:
    import onnx

    from ...runtime.files import atomic_path

    with atomic_path(path) as temporary:
        onnx.save(trials.mixed(content.groups), temporary)


def _gpu(name: str | None) -> Gpu | None:
    from ...export.roofline.gpus import gpu

    return None if name is None else gpu(name)


def _require_page(out: Path, html: Path | None) -> None:
    if html is None:
        return
    from ...eval import require_report

    require_report()
    if html.with_suffix(".json") == out:
        raise InputError(
            f"--html {html}: its values go to {out.name} beside it, which is the precision file; "
            "expected two names. Give one of them another."
        )


def _require_names(
    metric: str,
    out: Path,
    gpu: str | None,
    verify: Sequence[CocoData],
    write: Path | None,
    levels: Sequence[GroupPrecision],
) -> None:
    """What can be refused before anything runs."""
    if out.suffix != ".json":
        raise InputError(f"{out}: a precision file ends in .json; found '{out.suffix}'. Rename it.")
    if write is not None and not is_function(metric):
        raise InputError(
            f"--write {write}: --metric {metric} found; expected a graph that is not ours, judged "
            f"by a function. Export the checkpoint with --mixture {out}."
        )
    if verify and is_function(metric):
        raise InputError(
            f"--verify {verify[0].folder}: --metric {metric} found; expected ap or instances, "
            "which are measured on pictures. Leave it away."
        )
    if gpu is None and {"int8", "fp8"} & set(levels):
        raise InputError(
            "--gpu: none named; expected one, as INT8 and FP8 are chosen by the time that they "
            "gain. Name one."
        )
