"""`maskrt search` of the shipped networks: what it finds on one set, and how that does on another.

    python -m maskrt.tools.precision.searched --folder out/s --out eval/records/search_tiny.json
    python -m maskrt.tools.precision.searched --session openvino --folder out/o --out \
        eval/records/search_openvino.json

Each network is searched on 200 val pictures of seed 2026, calibrated on 64 train pictures of it,
and verified on 200 pictures of seed 31337, which chose nothing. Times are floors of an L4's data
sheet; with a session, which runs the candidates here, of a processor's. The folder keeps pictures,
journals and precision files: an interrupted run goes on, and what is there is not searched again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...eval import environment, to_json
from ...export.search.precision_file import read_precision_file
from ...runtime.files import write_text
from ...train.shapes.drawing import draw_shapes
from ...workflows import load_data, search_precision

NETWORKS = ("lsc_mask_rcnn_tiny", "fastmask_tiny")
SEARCHED, UNSEEN = 2026, 31337
CALIBRATED_ON = 64
PROCESSOR = Path(__file__).with_name("xeon_8480.yaml")
LEFT_OUT = ("group_ms", "alone")
"""Of the certificate: a row for each group and precision, which no table shows."""


def searched(network: str, images: int, folder: Path, session: str | None) -> dict[str, Any]:
    """The certificate of one network, and how its verdict on the unseen set agrees with it."""
    path = folder / f"{network}.json"
    if not path.exists():
        _search(network, images, path, session)
    content = read_precision_file(path)
    certificate = to_json(content.certificate)
    return {
        "certificate": {k: v for k, v in certificate.items() if k not in LEFT_OUT},
        "covered": covered(certificate["sets"][0], certificate["sets"][1]),
        "groups": dict(content.groups),
    }


def _search(network: str, images: int, path: Path, session: str | None) -> None:
    folder = path.parent
    sets = {seed: folder / f"s{seed}" for seed in (SEARCHED, UNSEEN)}
    for seed, pictures in sets.items():
        if not pictures.exists():
            draw_shapes(pictures, CALIBRATED_ON if seed == SEARCHED else 8, images, seed)
    search_precision(
        Path(network),
        path,
        load_data(sets[SEARCHED], first=images),
        gpu="l4" if session is None else str(PROCESSOR),
        session=session,
        verify=[load_data(sets[UNSEEN], first=images)],
        on_step=lambda line: print(line, file=sys.stderr, flush=True),
    )


def covered(seen: dict[str, Any], unseen: dict[str, Any]) -> dict[str, bool]:
    """By name of a change, whether the interval for unseen pictures has what was measured there."""
    return {
        name: low <= unseen["figures"][name] <= high for name, (low, high) in seen["unseen"].items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Search all networks and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200, help="val pictures of each set")
    parser.add_argument("--session", help="of .onnx files, in which candidates run")
    arguments = parser.parse_args(argv)
    where = "" if arguments.session is None else f"--session {arguments.session} "
    networks = {
        name: searched(name, arguments.images, arguments.folder, arguments.session)
        for name in NETWORKS
    }
    record = {
        "what": (__doc__ or "").partition("\n")[0],
        "commands": [
            f"python -m maskrt.tools.precision.searched {where}--folder FOLDER --out RECORD"
        ],
        "environment": environment(),
        "images": arguments.images,
        "networks": networks,
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
