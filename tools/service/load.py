"""The service under load, under attack, and beside `predict`.

    python -m maskrt.tools.service.load MODEL --batched MODEL --pictures DIR [--out FILE.json]

MODEL is an `.onnx` file of batch 1, `--batched` the same network with a larger batch, DIR a folder
of pictures. Each part starts `maskrt serve` as a process. Exit code 1 where an accepted request was
lost or answered otherwise than by `predict`, a refusal was no 503 or memory grew, or where hostile
requests ended the process, left it wrong, or put a traceback into its log.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import httpx

from ...eval.machine.environment import environment
from ...runtime.files import write_text
from ...runtime.pictures.preprocess import decoded_image
from ...runtime.pictures.sources import source_files
from ...runtime.predictor import Predictor
from ...runtime.sessions.open import ModelRef, model_from_text, open_artefact
from ...serving.web.answers import prediction_json
from ...workflows.serving.service import named
from .added import added
from .hostile import Bait, attack
from .overload import Picture, capacity, overload
from .process import Served, served

MOST_GROWTH = 0.05
SETTLED_S = 60.0
SCORE = 0.5
"""The service's default."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print and keep what was found; exit code 1 where something is not as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=model_from_text, help=".onnx of batch 1")
    parser.add_argument("--batched", type=model_from_text, help=".onnx of a larger batch")
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=300.0, help="of overload (300)")
    parser.add_argument("--times", type=float, default=4.0, help="the capacity (4)")
    parser.add_argument("--hostile", type=int, default=200, metavar="N", help="requests (200)")
    parser.add_argument("--turns", type=int, default=20, help="beside predict (20)")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    arguments = parser.parse_args(argv)
    files = [path.read_bytes() for path in source_files([arguments.pictures])]
    model = arguments.model
    found: dict[str, Any] = {
        "overload": _overloaded(model, files, arguments.times, arguments.seconds),
        "hostile": _attacked(model, files[0], arguments.hostile),
        "added": [
            _beside(each, files, arguments.turns) for each in (model, arguments.batched) if each
        ],
        "environment": environment([each.path for each in (model, arguments.batched) if each]),
    }
    text = json.dumps(found)
    if arguments.out is not None:
        write_text(arguments.out, text + "\n")
    print(text)
    for sentence in (wrong := problems(found)):
        print(sentence, file=sys.stderr)
    return int(bool(wrong))


def problems(found: dict[str, Any]) -> list[str]:
    """What is not as promised, a sentence each."""
    load, hostile = found["overload"], found["hostile"]
    others = set(load["statuses"]) - {"200", "503"}
    seen = {status for statuses in hostile["kinds"].values() for status in statuses}
    failed = {status for status in seen - {"503"} if status.startswith("5")}
    checks = {
        f"overload: lost {load['lost']}": load["lost"],
        f"overload: answered with {sorted(others)}": others,
        f"overload: {load['differing']} answers differ from predict's": load["differing"],
        "overload: refusals without Retry-After": load["without_retry_after"],
        f"overload: memory grew by {load['growth']:.1%}": load["growth"] > MOST_GROWTH,
        f"hostile requests: answered with {sorted(failed)}": failed,
        "hostile requests: the process ended": not hostile["alive"],
        "hostile requests: it answers otherwise afterwards": not hostile["answers_after"],
        f"hostile requests: {hostile['tracebacks']} tracebacks": hostile["tracebacks"],
        f"hostile requests: {hostile['held_bytes']} bytes still held": hostile["held_bytes"],
    }
    return [sentence for sentence, is_so in checks.items() if is_so]


def _opened(model: ModelRef) -> Predictor:
    return Predictor(open_artefact(model.path, model.session, model.options))


def _answers(model: ModelRef, files: Sequence[bytes]) -> list[Picture]:
    """Each file with what the service has to say of it."""
    with _opened(model) as predictor:
        found = predictor.predict([decoded_image(data, "a picture") for data in files])
    (name,) = named([model])
    return [
        Picture(data, prediction_json(name, instances.above(SCORE), "rle"))
        for data, instances in zip(files, found, strict=True)
    ]


def _overloaded(
    model: ModelRef, files: Sequence[bytes], times: float, seconds: float
) -> dict[str, Any]:
    pictures = _answers(model, files)
    with served(str(model)) as running:
        most = capacity(running, pictures, max(2.0, seconds / 15))
        return {"capacity": most, **overload(running, pictures, times * most, seconds)}


def _attacked(model: ModelRef, file: bytes, requests: int) -> dict[str, Any]:
    (picture,) = _answers(model, [file])
    image = decoded_image(file, "a picture")
    png, jpeg = (cv2.imencode(suffix, image)[1].tobytes() for suffix in (".png", ".jpg"))
    options = ("--receive-s", "2", "--most-mib", "2", "--most-mpx", "10", "--memory-mib", "256")
    with served(str(model), *options) as running:
        before = running.files
        kinds = attack(running, Bait(jpeg, png, *named([model])), requests)
        return {"requests": requests, "kinds": kinds, **_after(running, picture, before)}


def _after(running: Served, picture: Picture, files_before: int) -> dict[str, Any]:
    """How the service is once all of them have gone."""
    with httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client:
        answer = client.post("/predict", content=picture.data)
        return {
            "alive": running.alive,
            "answers_after": answer.content == picture.answer,
            "tracebacks": running.log.read_text().count("Traceback"),
            "held_bytes": _held_at_last(client),
            "more_files": running.files - files_before,
        }


def _held_at_last(client: httpx.Client) -> float:
    """Bytes that the service says it holds, once what was under way has ended."""
    until = time.monotonic() + SETTLED_S
    while True:
        metrics = client.get("/metrics").text.splitlines()
        (line,) = (line for line in metrics if line.startswith("maskrt_held_bytes "))
        held = float(line.split()[1])
        if not held or time.monotonic() > until:
            return held
        time.sleep(0.2)


def _beside(model: ModelRef, files: Sequence[bytes], turns: int) -> dict[str, Any]:
    with served(str(model)) as running, _opened(model) as predictor:
        return added(running, predictor, files, turns)


if __name__ == "__main__":
    sys.exit(main())
