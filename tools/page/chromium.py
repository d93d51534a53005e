"""A headless Chromium driven over its pipe: the DevTools protocol, messages ended by a zero byte.

Source: https://chromedevtools.github.io/devtools-protocol/ (--remote-debugging-pipe).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import http.server
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic", "--mute-audio"),
    *("--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"),
)
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""Headers that give a page threads."""


def chromium_path() -> str | None:
    """Where a Chromium is; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._answers = to, answers
        self._ids, self._rest, self._session = itertools.count(1), b"", ""
        self.errors: list[str] = []
        """Exceptions that no script caught, and console errors."""

    def open(
        self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """A new page of this size at an address; dark is the person's choice."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page", "DOM"):
            self.ask(f"{domain}.enable")
        metrics = {"deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The JSON value of an expression, awaited."""
        found = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            if time.monotonic() > end:
                text = self.run("document.body.innerText")
                raise TimeoutError(f"{script} after {seconds} s; {text}; {self.errors}")
            time.sleep(0.1)
        return value

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file, as a person does with the dialog."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve())])

    def press(self, key: str, code: int) -> None:
        """A key down and up."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, file: Path) -> None:
        """The window as PNG."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def ask(self, method: str, **parameters: Any) -> Any:
        """One command's result."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._answer()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._answers], [], [], 120)[0]:
                raise TimeoutError("Chromium has not answered for 120 s")
            if not (data := os.read(self._answers, 1 << 20)):
                raise RuntimeError("Chromium has ended")
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        return answer

    def _note(self, event: Mapping[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"])[:1000])
        entry = event.get("params", {}).get("entry", {})
        if event.get("method") == "Log.entryAdded" and entry["level"] == "error":
            self.errors.append(f"{entry['text']} {entry.get('url', '')}")


@contextlib.contextmanager
def browser(path: str, *flags: str) -> Iterator[Browser]:
    """A Chromium with an empty profile, ended with the block."""
    (their_in, to), (answers, their_out) = (_above(pair) for pair in (os.pipe(), os.pipe()))
    script = f'exec "$@" 3<&{their_in} 4>&{their_out} {their_in}<&- {their_out}>&-'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["bash", "-c", script, "-", path, *FLAGS, *flags, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            command,
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        try:
            yield Browser(to, answers)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(answers)


def _above(ends: tuple[int, int]) -> tuple[int, int]:
    """The same pipe under numbers above 3 and 4, which are the browser's."""
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


@contextlib.contextmanager
def static_server(folder: Path, headers: Mapping[str, str]) -> Iterator[str]:
    """A folder as `python -m http.server` serves it, with headers; its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
