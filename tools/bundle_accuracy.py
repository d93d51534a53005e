"""What a bundle of both orientations gives on portrait and landscape pictures, beside one canvas.

    python -m maskrt.tools.bundle_accuracy --out eval/records/bundle_accuracy.json [--images 200]

200 drawn pictures, half of them portrait: 250 x 300 and 240 x 320 px and the same turned. Each
shipped family runs as torch with every picture on a canvas of its own, as a bundle of two canvases,
and as the landscape graph of it alone. Both canvases keep every picture whole; 250 x 300 fills them
exactly, so there the bundle is under the FP32 gate against torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from ..eval import CocoData, Prediction, environment, hop_between, predict_data, to_json
from ..eval.parity.hops import Measurement, measurement_of
from ..runtime.bundle import INDEX, read_bundle
from ..runtime.contract import Contract
from ..runtime.files import write_text
from ..runtime.pictures.canvases import CanvasLosses
from ..runtime.pictures.preprocess import Image
from ..runtime.predictor import Predictor
from ..runtime.results.instances import Instances
from ..train.deploy.canvases import canvas_for
from ..train.deploy.deployment import Shapes
from ..train.shapes.drawing import draw_shapes
from ..train.torch_session import TorchSession
from ..train.weights.checkpoint import load_checkpoint
from ..workflows import export_checkpoint, load, load_data
from ..workflows.shipped import CHECKPOINTS

HW = tuple[int, int]
EXACT_HW: tuple[HW, HW] = ((250, 300), (300, 250))
OTHER_HW: tuple[HW, HW] = ((240, 320), (320, 240))
SEED = 41
CANVASES: dict[str, tuple[HW, HW]] = {
    "lsc_mask_rcnn_tiny": ((400, 480), (480, 400)),
    "fastmask_tiny": ((744, 896), (896, 744)),
}
"""What the recipes make of 250 x 300 px, and the same turned."""
SUBSETS: dict[str, Callable[[HW], bool]] = {
    "all": lambda hw: True,
    "portrait": lambda hw: hw[0] > hw[1],
    "landscape": lambda hw: hw[0] < hw[1],
    "exact": lambda hw: hw in EXACT_HW,
}


class NativeTorch(Predictor):
    """A checkpoint run by torch, each picture on the smallest canvas of its own shape."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint, self.recipe = checkpoint, load_checkpoint(checkpoint).recipe
        self._opened: dict[HW, Predictor] = {}
        super().__init__(TorchSession(checkpoint))

    def predict(self, images: Any) -> list[Instances]:
        """One picture of a list at a time."""
        return [found for image in images for found in self._native(image).predict([image])]

    def _native(self, image: Image) -> Predictor:
        canvas_hw = canvas_for(self.recipe, (image.shape[0], image.shape[1]))
        if canvas_hw not in self._opened:
            session = TorchSession(self.checkpoint, Shapes(canvas_hw))
            self._opened[canvas_hw] = Predictor(session)
        return self._opened[canvas_hw]

    def close(self) -> None:
        """Every network that was made."""
        super().close()
        for predictor in self._opened.values():
            predictor.close()


def measure_family(name: str, data: CocoData, folder: Path) -> dict[str, Any]:
    """The record of one shipped checkpoint."""
    checkpoint, bundle = CHECKPOINTS / f"{name}.safetensors", folder / name
    reports = export_checkpoint(checkpoint, bundle, canvases=CANVASES[name])
    single = reports[0].path
    paths = {"torch, native canvas": checkpoint, "bundle": bundle / INDEX, "one canvas": single}
    opened: dict[str, Callable[[], Predictor]] = {
        "torch, native canvas": lambda: NativeTorch(checkpoint),
        "bundle": lambda: load(bundle, threads=1),
        "one canvas": lambda: load(single, threads=1),
    }
    found = {}
    for row, open_it in opened.items():
        print(f"{name}: {row}, {len(data.images)} pictures", file=sys.stderr)
        with open_it() as predictor:
            backend, contract = str(predictor.session.backend), predictor.contract
            found[row] = predict_data(predictor, data), contract, backend
    index = read_bundle(bundle)
    return {
        "canvases": index.canvases,
        "bytes": {
            "one graph": onnx.load(single).ByteSize(),
            "bundle": index.total_bytes + (bundle / INDEX).stat().st_size,
            "shared weights": 0 if index.weights is None else index.weights.bytes,
        },
        "lost": {row: _lost(found[row][1], data, canvases) for row, canvases in
                 (("bundle", index.canvases), ("one canvas", index.canvases[:1]))},
        "subsets": {
            subset: _subset(_only(data, keep), data, found, paths)
            for subset, keep in SUBSETS.items()
        },
    }  # fmt: skip


def _only(data: CocoData, keep: Callable[[HW], bool]) -> CocoData:
    images = tuple(record for record in data.images if keep(record.image_hw))
    return dataclasses.replace(data, images=images)


def _lost(contract: Contract, data: CocoData, canvases: tuple[HW, ...]) -> dict[str, float]:
    losses = CanvasLosses(contract.resize, canvases)
    for record in data.images:
        losses.add(record.image_hw)
    return {"pictures": losses.shrunk, "share_of_their_pixels": losses.lost_share}


def _subset(
    part: CocoData,
    data: CocoData,
    found: dict[str, tuple[list[Prediction], Contract, str]],
    paths: dict[str, Path],
) -> dict[str, Any]:
    """Accuracy of each row on some of the pictures, and the FP32 gate against torch."""
    kept = {record.image_id for record in part.images}
    places = [place for place, record in enumerate(data.images) if record.image_id in kept]
    rows: dict[str, Measurement] = {
        row: measurement_of([all_[p] for p in places], contract, backend, paths[row], part)
        for row, (all_, contract, backend) in found.items()
    }
    reference, *others = rows
    hops = {row: to_json(hop_between(rows[reference], rows[row], "fp32")) for row in others}
    return {
        "pictures": len(part.images),
        "accuracy": {
            row: {"box": m.accuracy.box, "mask": m.accuracy.mask} for row, m in rows.items()
        },
        "against_torch": hops,
    }


def measure(images: int) -> dict[str, Any]:
    """The whole record; one thread each, which on busy cores is quicker than two."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (*EXACT_HW, *OTHER_HW)
        draw_shapes(folder / "data", 0, images, SEED, sizes_hw=sizes, progress=False)
        data = load_data(folder / "data")
        families = {family: measure_family(family, data, folder) for family in CANVASES}
    return {
        "what": " ".join((__doc__ or "").split()),
        "commands": [f"python -m maskrt.tools.bundle_accuracy --images {images}"],
        "sizes_hw": sizes,
        "seed": SEED,
        "families": families,
        "environment": environment([CHECKPOINTS / f"{family}.safetensors" for family in CANVASES]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    write_text(arguments.out, json.dumps(measure(arguments.images), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
