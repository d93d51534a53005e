"""A camera behind an address: an RTSP server of one client that sends an MPEG transport stream.

Frames go over the RTSP connection itself (RFC 2326, 10.12), payload type 33 (RFC 3551).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from maskrt.runtime.pictures.opencv import quiet_opencv

PACKETS = 7 * 188
"""Bytes in a datagram: as many packets of the transport stream as fit."""
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=drawn\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\n"


def transport_stream(path: Path, frames: int, hw: tuple[int, int] = (64, 96)) -> bytes:
    """So many bright frames."""
    codec = cv2.VideoWriter.fourcc(*"mpg2")
    with quiet_opencv():  # it would rather have another codec in this container
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 25.0, hw[::-1])
    assert writer.isOpened()
    for _ in range(frames):
        writer.write(np.full((*hw, 3), 255, np.uint8))
    writer.release()
    return path.read_bytes()


@contextlib.contextmanager
def rtsp_server(stream: bytes) -> Iterator[str]:
    """The address, with a user and password, of a camera that sends `stream` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, stream), daemon=True)
        thread.start()
        yield f"rtsp://anna:secret@127.0.0.1:{listener.getsockname()[1]}/door"
        thread.join(10)


def _serve(listener: socket.socket, stream: bytes) -> None:
    listener.settimeout(20)
    with contextlib.suppress(OSError), listener.accept()[0] as client:
        requests = client.makefile("r", encoding="ascii", newline="\r\n")
        while method := requests.readline().partition(" ")[0]:
            headers = dict(line.rstrip().split(": ", 1) for line in iter(requests.readline, "\r\n"))
            client.sendall(_answer(method, headers).encode())
            if method == "PLAY":
                _send(client, stream)
                return


def _answer(method: str, headers: dict[str, str]) -> str:
    body = SDP if method == "DESCRIBE" else ""
    lines = ["RTSP/1.0 200 OK", f"CSeq: {headers['CSeq']}", f"Content-Length: {len(body)}"]
    lines += {
        "OPTIONS": ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"],
        "DESCRIBE": ["Content-Type: application/sdp"],
        "SETUP": ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"],
    }.get(method, [])
    session = [] if method in ("OPTIONS", "DESCRIBE") else ["Session: 1"]
    return "\r\n".join([*lines, *session, "", body])


def _send(client: socket.socket, stream: bytes) -> None:
    for number, start in enumerate(range(0, len(stream), PACKETS)):
        data = stream[start : start + PACKETS]
        head = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, 3600 * number, 1)
        client.sendall(struct.pack(">cBH", b"$", 0, len(head) + len(data)) + head + data)
    time.sleep(0.3)
