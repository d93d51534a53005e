"""What the stages of `tools/gpu` leave: a file each, and one record and one page of all.

A stage's file holds until code or machine change. Its key is CODE-MACHINE, a digest of the sources
and one of the GPU, its driver and the packages that decide a result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ...eval import Report, Table, environment, to_json, write_report
from ...eval.report.page import report_json, report_markdown
from ...runtime.files import write_text
from ...runtime.gpu.cuda import device_info
from ...runtime.json_values import decoded, parse_json

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("cli", "engines", "eval", "export", "runtime", "tests", "tools", "train", "workflows")
SUFFIXES = (".py", ".yaml", ".ptx", ".safetensors")
MORE_PACKAGES = ("cuda-bindings", "nvidia-ml-py", "onnx", "torchvision", "triton")
"""Beside those that `environment` names."""
STEADY = ("cpu", "cores", "os", "python", "versions", "gpus", "driver", "gpu")
"""What of the environment stays from one stage to the next."""
PAGE = "gpu.html"
SHOWN = 400
"""Characters of a reason; the JSON has all."""

State = Literal["done", "failed", "not run"]


class NotRunError(Exception):
    """A stage has nothing that it could do on this machine."""

    def __init__(self, absent: dict[str, str]) -> None:
        """Why, by what it would have done."""
        super().__init__("; ".join(dict.fromkeys(absent.values())))
        self.absent = absent


@dataclass(frozen=True)
class Setting:
    """What every stage is told."""

    out: Path
    """Folder for all that is written."""
    rehearsal: bool
    """Small networks and few calls, on whatever is here, a GPU or not."""
    key: str
    """Of the code and the machine, see `run_key`."""

    @property
    def files(self) -> Path:
        """Folder for models: of this code, whichever Python and machine made them."""
        return self.out / "files" / self.key.partition("-")[0]


@dataclass(frozen=True)
class Found:
    """What a stage measured."""

    tables: tuple[Table, ...] = ()
    sentences: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    """What could not run here, by name, and why."""
    failures: tuple[str, ...] = ()
    """What ran and is wrong, a sentence each."""
    details: dict[str, Any] = field(default_factory=dict)
    """The values as JSON, raw samples included."""


@dataclass(frozen=True)
class Result:
    """A stage that has ended."""

    stage: str
    state: State
    key: str
    """As `Setting.key`."""
    seconds: float
    why: str = ""
    """Why it failed or did not run."""
    found: Found = Found()
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))

    def __str__(self) -> str:
        """One line, e.g. "demo: done in 74 s"."""
        after = f" in {self.seconds:.0f} s" if self.state == "done" else f": {self.short_why}"
        return f"{self.stage}: {self.state}{after}"

    @property
    def short_why(self) -> str:
        """`why` as a table takes it: several errors at once are a page."""
        return self.why if len(self.why) <= SHOWN else f"{self.why[:SHOWN]}..."


def machine() -> dict[str, Any]:
    """`environment` with the GPU as CUDA describes it, and the versions of more packages."""
    facts = environment()
    for name in MORE_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            facts["versions"][name] = version(name)
    gpu = device_info()
    return {**facts, "gpu": "none" if gpu is None else dataclasses.asdict(gpu)}


def run_key(facts: dict[str, Any], rehearsal: bool) -> str:
    """What a stage's result holds for: these sources, on this machine."""
    code = _digest([code_sha256(), rehearsal])
    return f"{code}-{_digest({name: facts[name] for name in STEADY})}"


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def code_sha256() -> str:
    """Of names and contents of all sources, tests and checkpoints too."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                digest.update(f"{path.relative_to(ROOT)}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def commit() -> str:
    """The clone's commit, "-dirty" behind it where files differ; "unknown" outside a clone."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ran.stdout.strip()


def write_result(out: Path, result: Result) -> None:
    """Keep a stage's result in folder `out`; errors as `write_text`."""
    text = json.dumps(to_json(result), indent=1, allow_nan=False)
    write_text(_file(out, result.stage), text + "\n")


def read_result(out: Path, stage: str, key: str) -> Result | None:
    """What a stage left under the same key; None where it left nothing whole."""
    try:
        result = decoded(Result, parse_json(_file(out, stage).read_bytes()))
    except (OSError, ValueError):
        return None
    return result if result.key == key else None


def _file(out: Path, stage: str) -> Path:
    return out / "stages" / f"{stage}.json"


def write_record(
    setting: Setting, results: list[Result], facts: dict[str, Any], command: str
) -> list[Path]:
    """Write what all stages found as `gpu.json` and `gpu.md`, and the page where Jinja2 is.

    Args:
        setting: of the run.
        results: of the stages that have ended, in order.
        facts: of `machine`.
        command: what to type to get this again.

    Returns:
        The files, the page first where there is one.
    """
    small = setting.rehearsal
    report = Report(
        title="maskrt: rehearsal of the GPU stages" if small else "maskrt on an NVIDIA GPU",
        dataset="Small networks stand for the full-size ones." if small else "Drawn pictures.",
        environment=facts,
        summary=tuple(sentence for result in results for sentence in _sentences(result)),
        commands=(command,),
        tables=(stage_table(results), *_absent_tables(results), *_tables(results)),
        details={
            "commit": commit(),
            "code_sha256": code_sha256(),
            "rehearsal": small,
            "stages": [to_json(result) for result in results],
        },
    )
    page = setting.out / PAGE
    if find_spec("jinja2") is not None:
        return [*write_report(report, page), page.with_suffix(".md")]
    texts = {".json": json.dumps(report_json(report), indent=1) + "\n"}
    texts[".md"] = report_markdown(report)
    for suffix, text in texts.items():
        write_text(page.with_suffix(suffix), text)
    return [page.with_suffix(suffix) for suffix in texts]


def stage_table(results: list[Result]) -> Table:
    """How each stage ended."""
    rows = tuple((r.stage, r.state, f"{r.seconds:.0f}", r.short_why) for r in results)
    return Table("Stages", ("stage", "state", "s", "why"), rows, keys=1)


def _sentences(result: Result) -> list[str]:
    return [f"{result.stage}: {sentence}" for sentence in result.found.sentences]


def _absent_tables(results: list[Result]) -> list[Table]:
    rows = tuple((r.stage, name, why) for r in results for name, why in r.found.absent.items())
    return [Table("Not run here", ("stage", "what", "why"), rows)] if rows else []


def _tables(results: list[Result]) -> list[Table]:
    """Each under its stage's name: several stages have a table "Latency"."""
    return [
        dataclasses.replace(table, title=f"{result.stage}: {table.title}")
        for result in results
        for table in result.found.tables
    ]
