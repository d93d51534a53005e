"""From a clone to a page that shows a person's own picture: each command and its time.

    python -m maskrt.tools.walks.served PICTURE --out eval/records/served_cpu.json

The commands are the first ones of docs/start/page.md, run as they stand there, in a clean clone
with an environment of its own in which nothing is installed. The last one serves: then the page is
opened in a headless Chromium, PICTURE is chosen as a person chooses it, and the page's own words of
what it shows end the walk; `--screenshot` keeps what is seen. On a machine with other load seconds
of processors say more than those of the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ...runtime.files import write_text
from ..page.chromium import browser, chromium_path
from .steps import ROOT, clean_clone, commands_of, environment_of, facts_of, walk

PAGE = ROOT / "docs" / "start" / "page.md"
ADDRESS = "http://127.0.0.1:8000/"
SAID = "document.querySelector('.said').textContent"
START_S = 120.0


def measure(picture: Path, chromium: str, screenshot: Path | None) -> dict[str, Any]:
    """The record."""
    *before, serve = commands_of(PAGE)
    with clean_clone() as clone:
        steps = walk(before, clone)
        began = time.monotonic()
        with _served(serve, clone):
            listening_s = time.monotonic() - began
            said = _shown(picture, chromium, screenshot)
            shown_s = time.monotonic() - began
        facts = facts_of(clone)
    steps.append({"command": serve, "seconds": round(listening_s, 1)})
    return {
        "what": " ".join((__doc__ or "").split()),
        "steps": steps,
        "picture_shown_seconds": round(shown_s - listening_s, 1),
        "page_says": said,
        "environment": facts,
    }


@contextlib.contextmanager
def _served(command: str, clone: Path) -> Iterator[None]:
    """The last command, once it answers."""
    print(command, file=sys.stderr, flush=True)
    with subprocess.Popen(command.split(), cwd=clone, env=environment_of(clone)) as process:
        try:
            _wait(process)
            yield
        finally:
            process.send_signal(signal.SIGINT)


def _wait(process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(ADDRESS, timeout=5):
            return
        time.sleep(0.1)
    raise InputError(
        f"{ADDRESS}: no answer in {START_S:g} s; expected the page. Read what it said."
    )


def _shown(picture: Path, chromium: str, screenshot: Path | None) -> str:
    """What the page says once it shows the picture."""
    with browser(chromium) as page:
        page.open(ADDRESS)
        page.wait("document.querySelectorAll('.pane').length")
        page.choose("#file", picture)
        said = page.wait(f"/shown/.test({SAID}) && {SAID}", 120)
        if screenshot is not None:
            page.screenshot(screenshot)
    return str(said)


def main(argv: Sequence[str] | None = None) -> int:
    """Walk and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    chromium = chromium_path()
    if chromium is None:
        parser.error("no Chromium on this machine; expected one on PATH. Install it.")
    record = measure(arguments.picture, chromium, arguments.screenshot)
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
