"""What clients must not do, and what the service does about it: a status, a sentence, no more."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import cv2
import numpy as np

from maskrt.serving.intake.scans import jpeg_scans
from maskrt.serving.server import listening_socket

from .conftest import Connect, Start, png


def jpeg(hw: tuple[int, int] = (64, 64), progressive: bool = False) -> bytes:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*hw, 3), np.uint8)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    return data.tobytes()


def claiming(data: bytes, height: int, width: int) -> bytes:
    """A JPEG whose header states another size."""
    at = next(
        data.index(bytes([0xFF, code])) for code in (0xC0, 0xC2) if bytes([0xFF, code]) in data
    )
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def with_scans(data: bytes, more: int) -> bytes:
    """A progressive JPEG with its last scan repeated, which costs a pass over all pixels each."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (more + 1) + data[-2:]


REFUSED = {
    "nothing": (b"", 415, "without a picture's header"),
    "text": (b"no picture", 415, "without a picture's header"),
    "a cut one": (png(255)[:60], 400, "not a whole picture"),
    "a bomb": (claiming(jpeg(), 60000, 60000), 413, "60000 x 60000"),
    "no pixels": (claiming(jpeg(), 0, 10), 415, "without a picture's header"),
    "many scans": (with_scans(jpeg(progressive=True), 200), 400, "scans; expected at most 100"),
    "too long": (b"x" * 300_001, 413, "longer than 300000 bytes"),
}


def test_every_refusal_is_a_status_and_a_sentence(start: Start) -> None:
    with start(most_bytes=300_000, most_px=1_000_000) as running, running.client() as client:
        for name, (data, status, words) in REFUSED.items():
            answer = client.post("/predict", content=data)
            assert answer.status_code == status, (name, answer.text)
            assert words in answer.json()["error"], name
        chunks: Iterator[bytes] = iter([b"x" * 120_000] * 3)  # of no stated length
        assert client.post("/predict", content=chunks).status_code == 413
        packed = client.post("/predict", content=png(9), headers={"Content-Encoding": "gzip"})
        assert packed.status_code == 415
        for broken in (b"--x\r\n\r\n", b"--x--\r\n", b"", b"\xff" * 50):
            form = {"Content-Type": "multipart/form-data; boundary=x"}
            assert client.post("/predict", content=broken, headers=form).status_code == 400
        form = {"Content-Type": "multipart/form-data"}
        assert client.post("/predict", content=b"x", headers=form).status_code == 400
        two = [("a", ("a.png", png(1))), ("b", ("b.png", png(2)))]
        assert client.post("/predict", files=two).status_code == 400
        for query in ("model=none", "score=nan", "score=2", "most=-1", "masks=x", "nms_iou=0"):
            refused = client.post(f"/predict?{query}", content=png(9))
            assert refused.status_code in (400, 404), query
            assert refused.json()["error"].count(". ") >= 1
        assert client.post("/predict", content=png(255)).status_code == 200
        assert running.service.budget.held_bytes == 0


def test_scans_are_counted_to_the_end_marker_alone() -> None:
    assert jpeg_scans(jpeg()) == 1
    plain = jpeg(progressive=True)
    assert jpeg_scans(plain) == plain.count(b"\xff\xda") > 5
    assert jpeg_scans(plain + b"a film: \xff\xda\xff\xda") == jpeg_scans(plain)
    assert jpeg_scans(with_scans(plain, 7)) == jpeg_scans(plain) + 7
    assert jpeg_scans(b"\xff\xd8") == jpeg_scans(b"") == 0


def test_slow_senders_idle_connections_and_slow_headers_are_ended(
    start: Start, connect: Connect
) -> None:
    with start(receive_s=0.5) as running:
        slow, idle, cut_header = (connect(running) for _ in range(3))
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nx")
        cut_header.sendall(b"POST /predict HT")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
        for connection in (idle, cut_header):
            with contextlib.suppress(ConnectionResetError):
                assert not connection.recv(100)  # its end, and no time-out of ours
        with running.client() as client:
            assert client.post("/predict", content=png(255)).status_code == 200


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """An answer is two writes; with Nagle's algorithm the second one waits 40 ms for the first."""
    with listening_socket("localhost", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP  # by which asyncio knows to turn it off


def test_memory_is_refused_before_a_picture_is_decoded(start: Start) -> None:
    with start(memory_bytes=2**20) as running, running.client() as client:
        refused = client.post("/predict", content=png(255, (1000, 1000)))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "memory: " in refused.json()["error"]
        assert client.post("/predict", content=png(255)).status_code == 200
