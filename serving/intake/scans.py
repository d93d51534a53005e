"""How often a JPEG goes over its pixels.

Each scan of a progressive JPEG costs a pass over all of them and may be a few bytes long: a file of
some kilobytes can keep a processor busy for minutes. Cameras write one scan, encoders about ten.

Source: ITU-T T.81, B.1.1 and B.2.
"""

from __future__ import annotations

import re

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""After entropy-coded data, in which FF is stuffed with 00 or begins a restart marker."""
_START_OF_SCAN, _END = 0xDA, 0xD9


def jpeg_scans(data: bytes) -> int:
    """Scans up to the end marker; what else is in the file, as previews and films, is passed by."""
    scans, at = 0, 2
    while found := _NEXT_MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            break
        scans += marker == _START_OF_SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    return scans
