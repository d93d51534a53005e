"""Clients that break every rule, each over a connection of its own.

Bombs by their headers, pictures cut and changed, wrong types, forms and tensors that are none,
bodies shorter and longer than they say, requests that are no HTTP, senders that stall, readers that
do not read, connections cut at every point.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import cv2
import numpy as np

from ..fuzz.mutations import mutated_bytes, mutated_json
from .process import Served

THREADS = 16
PATIENCE_S = 15.0
"""Longer than the service lets a client take."""
SMALL_BUFFER = 4096
"""Of what a client has not read yet, so that a server soon has to wait for it."""
NO_ANSWER = "closed"
PACKED = gzip.compress(bytes(20_000_000))

Hostile = Callable[[Random, "Bait"], Iterator[bytes | float]]
"""What is sent, and seconds to wait between."""


class Bait:
    """Good input that hostile ones are made of."""

    def __init__(self, jpeg: bytes, png: bytes, model: str) -> None:
        self.jpeg, self.png = jpeg, png
        noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
        self.noise = cv2.imencode(".jpg", noise)[1].tobytes()
        self.infer = f"/v2/models/{model}/infer"


def attack(served: Served, bait: Bait, requests: int, seed: int = 0) -> dict[str, object]:
    """Send so many hostile requests, all kinds in turn, and count what came back.

    Returns:
        By kind the statuses ("closed": none), as JSON values.
    """
    kinds = list(KINDS.items())

    def one(number: int) -> tuple[str, str]:
        name, kind = kinds[number % len(kinds)]
        return name, _sent(served.url, kind(Random(seed + number), bait))

    found: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    with ThreadPoolExecutor(THREADS) as pool:
        for name, status in pool.map(one, range(requests)):
            found[name][status] += 1
    return {name: dict(sorted(statuses.items())) for name, statuses in found.items()}


def _sent(url: str, parts: Iterator[bytes | float]) -> str:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        try:
            connection.connect((host, int(port)))
            for part in parts:
                if isinstance(part, float):
                    time.sleep(part)
                elif part is CUT:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return NO_ANSWER
                else:
                    connection.sendall(part)
            answer = connection.recv(100)
        except OSError:
            return NO_ANSWER
    status = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return status[1].decode() if status else NO_ANSWER


CUT = b"(cut here)"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request, with a Content-Length that may be wrong."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _bomb(rng: Random, bait: Bait) -> Iterator[bytes]:
    sides = rng.choice((9000, 30_000, 60_000))
    size = struct.pack(">II", sides, sides)
    little = struct.pack("<II", sides, sides)
    yield post(
        "/predict",
        rng.choice(
            (
                bait.png[:16] + size + bait.png[24:],
                b"BM" + bytes(12) + struct.pack("<I", 40) + little + bytes(200),
                b"GIF89a" + struct.pack("<HH", sides, sides) + bytes(200),
                b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(8) + b"\xff\xff\xff\xff\xff\xff" + bytes(9),
                b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", sides, sides) + bait.jpeg,
            )
        ),
    )


def _changed(rng: Random, bait: Bait) -> Iterator[bytes]:
    yield post("/predict?masks=polygons", mutated_bytes(rng.choice((bait.jpeg, bait.png)), rng))


def _cut_picture(rng: Random, bait: Bait) -> Iterator[bytes]:
    data = rng.choice((bait.jpeg, bait.png))
    yield post("/predict", data[: rng.randrange(len(data))])


def _wrong_type(rng: Random, bait: Bait) -> Iterator[bytes]:
    body = rng.choice((b"", b"{}", b"<svg/>", b"%PDF-1.7", bytes(1000), rng.randbytes(5000)))
    yield post(rng.choice(("/predict", bait.infer)), body, "Content-Type: application/json")


def _form(rng: Random, bait: Bait) -> Iterator[bytes]:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\n'
    whole = head + bait.png + b"\r\n--b--\r\n"
    yield post(
        "/predict", mutated_bytes(whole, rng), "Content-Type: multipart/form-data; boundary=b"
    )


def _tensors(rng: Random, bait: Bait) -> Iterator[bytes]:
    good = {
        "inputs": [
            {"name": "images", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0] * 12},
            {"name": "image_sizes", "shape": [1, 2], "datatype": "INT32", "data": [2, 2]},
        ],
        "parameters": {"binary_data_output": True},
    }
    yield post(bait.infer, mutated_json(json.dumps(good).encode(), rng))


def _deep(rng: Random, bait: Bait) -> Iterator[bytes]:
    yield post(bait.infer, rng.choice((b"[", b'{"a":')) * rng.choice((1000, 200_000)))


def _header_length(rng: Random, bait: Bait) -> Iterator[bytes]:
    wrong = rng.choice(("-1", "99999999999", "x", "1e3", ""))
    yield post(bait.infer, b"{}", f"Inference-Header-Content-Length: {wrong}")


def _stalled(rng: Random, bait: Bait) -> Iterator[bytes | float]:
    whole = post("/predict", bait.jpeg)
    yield whole[: rng.randrange(1, len(whole))]
    yield 0.5
    yield whole[-1:]


def _dripping(rng: Random, bait: Bait) -> Iterator[bytes | float]:
    yield post("/predict", b"", length=len(bait.jpeg))
    for byte in bait.jpeg[:10]:
        yield bytes([byte])
        yield 0.3


def _cut(rng: Random, bait: Bait) -> Iterator[bytes | float]:
    whole = post("/predict", bait.png)
    yield whole[: rng.choice((1, 20, len(whole) // 2, len(whole)))]
    yield rng.choice((0.0, 0.05))
    yield CUT


def _never_reads(rng: Random, bait: Bait) -> Iterator[bytes | float]:
    """Answers of megabytes, which fill all buffers between."""
    for _ in range(3):
        yield post("/predict?score=0", bait.noise, "Accept: image/png")
    yield 4.0
    yield CUT


def _no_http(rng: Random, bait: Bait) -> Iterator[bytes]:
    yield rng.choice(
        (b"\x16\x03\x01\x02\0" + bytes(200), b"\0" * 5000, b"GET\r\n\r\n", b"\r\n" * 99)
    )


def _long_header(rng: Random, bait: Bait) -> Iterator[bytes]:
    yield post("/predict", bait.png, f"X: {'y' * rng.choice((20_000, 200_000))}")


def _wrong_length(rng: Random, bait: Bait) -> Iterator[bytes]:
    wrong = rng.choice((-1, 10, len(bait.png) + 99, 10**15))
    yield post("/predict", bait.png, length=wrong)


def _two_lengths(rng: Random, bait: Bait) -> Iterator[bytes]:
    extra = rng.choice(("Content-Length: 5", "Transfer-Encoding: chunked", "Transfer-Encoding: x"))
    yield post("/predict", bait.png, extra)


def _broken_chunks(rng: Random, bait: Bait) -> Iterator[bytes]:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield head + rng.choice((b"ZZ\r\n", b"ffffffffffff\r\nx", b"5\r\nab\r\n0\r\n\r\n", b"-1\r\n"))


def _packed(rng: Random, bait: Bait) -> Iterator[bytes]:
    yield post("/predict", PACKED, "Content-Encoding: gzip")


def _addresses(rng: Random, bait: Bait) -> Iterator[bytes]:
    path = rng.choice(
        (
            "/../../etc/passwd",
            "/%2e%2e/%00",
            "/" + "a" * 9000,
            "/v2/models/%F0%9F%92%A3/infer",
            "/*",
        )
    )
    yield f"{rng.choice(('GET', 'PUT', 'BREW'))} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def _parameters(rng: Random, bait: Bait) -> Iterator[bytes]:
    query = rng.choice(
        ("score=nan", "score=1e999", "most=-1", "masks=%00", "model=../x", "nms_iou=0")
    )
    yield post(f"/predict?{query}", bait.png)


KINDS: dict[str, Hostile] = {
    "header states a bomb": _bomb,
    "bytes changed": _changed,
    "picture cut": _cut_picture,
    "wrong type": _wrong_type,
    "form changed": _form,
    "tensors changed": _tensors,
    "deep JSON": _deep,
    "wrong header length": _header_length,
    "sender stalls": _stalled,
    "sender drips": _dripping,
    "connection cut": _cut,
    "reader does not read": _never_reads,
    "no HTTP": _no_http,
    "long header": _long_header,
    "wrong length": _wrong_length,
    "two lengths": _two_lengths,
    "broken chunks": _broken_chunks,
    "compressed": _packed,
    "odd addresses": _addresses,
    "odd parameters": _parameters,
}
"""Twenty kinds; of 200 requests ten each."""
