"""Whether the shipped PTX is what its sources make, told without compiling (which takes a minute).

`compile` writes one digest over the kernels' sources and over all that its manifest says, the
SHA-256 of every PTX file among it. While none of these changes the files need not be made again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SOURCES = (
    "compile.py",
    "mask_kernels.py",
    "picture_kernel.py",
    "ptx_text.py",
    "pyramid_roi_align_kernel.py",
    "roi_align_kernel.py",
    "variants.py",
    "window_align_kernel.py",
)


def digest_of(manifest: dict[str, Any]) -> str:
    """The SHA-256 that belongs into `manifest` as `digest`, in hexadecimal."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_text(encoding="utf-8").encode())
    return digest.hexdigest()
