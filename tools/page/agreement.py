"""Whether a page in Chromium finds what `predict` finds; its JSON line is the record.

    python -m maskrt.tools.page.agreement MODEL.onnx ... --data DIR --runtime FOLDER
        [--pictures 20] [--screenshots DIR] --out FILE

DIR is a labelled folder as `maskrt data draw` makes it. The page is written, served and given each
picture as a person chooses it; portrait and other sizes are made of some by turning and scaling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...runtime.pictures.preprocess import read_image
from ...runtime.results.instances import Instances
from ...serving.page.page import write_page
from ...serving.page.web_runtime import VERSION
from ...workflows import load
from .chromium import ISOLATED, Browser, browser, chromium_path, static_server

SHAPES = (("as drawn", 1.0, False), ("portrait", 1.0, True), ("larger", 1.7, False))
"""In turns: scale, and whether it is turned by a quarter."""
LEAST_IOU = 0.95
FOUND = """
(async () => {
  const { panes } = await import("./page.js");
  return panes[0].found.map(({ label, score, box, mask }) => ({
    label, score, box, mask: mask && { ...mask, data: mask.data.join("") },
  }));
})()
"""
SAID = "document.querySelector('.said').textContent"


@dataclass
class Counts:
    """Instances of all pictures so far."""

    instances: int = 0
    alike: int = 0
    """Same label, scores within 0.01, box and mask at `LEAST_IOU` or above."""
    equal_masks: int = 0
    """To the last pixel."""
    extra: int = 0
    """In the page alone."""
    largest_score_difference: float = 0.0


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    path = chromium_path()
    if path is None:
        parser.error("no Chromium on this machine; expected one on PATH. Install it.")
    with tempfile.TemporaryDirectory() as temporary:
        pictures = list(_pictures(arguments.data, Path(temporary), arguments.pictures))
        sizes = [list(read_image(picture).shape[:2]) for picture in pictures]
        models = {
            model.stem: _measured(model, arguments.runtime, pictures, path)
            for model in arguments.models
        }
        sentences = _sentences(arguments.models[0], arguments.runtime, pictures[0], path)
    chromium = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    record = {
        "pictures_hw": sizes,
        "models": models,
        "sentences": sentences,
        "chromium": chromium.stdout.strip(),
        "onnxruntime_web": VERSION,
        "least_iou": LEAST_IOU,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _pictures(data: Path, out: Path, count: int) -> Iterator[Path]:
    """Pictures of a folder as PNG, so that both sides decode the same pixels."""
    files = sorted((data / "val").glob("*.jpg"))[:count]
    for index, file in enumerate(files):
        name, scale, turned = SHAPES[index % len(SHAPES)]
        image = cv2.resize(read_image(file), None, fx=scale, fy=scale * (0.75 if turned else 1))
        image = np.rot90(image) if turned else image
        path = out / f"{index:02d}-{name.replace(' ', '-')}.png"
        cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1]))
        yield path


def _measured(
    model: Path, runtime: Path, pictures: Sequence[Path], chromium: str
) -> dict[str, Any]:
    counts, said = Counts(), ""
    with (
        tempfile.TemporaryDirectory() as temporary,
        browser(chromium) as page,
        load(model, "onnxruntime-cpu") as predictor,
    ):
        write_page([model], Path(temporary) / "page", runtime)
        with static_server(Path(temporary) / "page", ISOLATED) as address:
            page.open(address)
            page.wait("document.querySelectorAll('.pane').length")
            for picture in pictures:
                found, said = found_in(page, picture)
                compare(predictor.predict([read_image(picture)])[0], found, counts)
    return {**vars(counts), "share_alike": counts.alike / counts.instances, "last_said": said}


def _sentences(model: Path, runtime: Path, picture: Path, chromium: str) -> dict[str, str]:
    """What a person reads where the picture is cut, or the model another graph or none."""
    said = {}
    with tempfile.TemporaryDirectory() as temporary, browser(chromium) as page:
        folder = Path(temporary) / "page"
        write_page([model], folder, runtime)
        inside = next((folder / "models").iterdir())
        cut = Path(temporary) / "cut.png"
        cut.write_bytes(picture.read_bytes()[:500])
        with static_server(folder, {}) as address:
            for name, data in (("another graph", _foreign()), ("no graph", b"text")):
                inside.write_bytes(data)
                page.open(address)
                page.wait("document.querySelectorAll('.pane').length")
                page.choose("#file", picture)
                said[name] = page.wait(f"/expected/.test({SAID}) && {SAID}", 120)
            page.choose("#file", cut)
            said["cut picture"] = page.wait("document.querySelector('#problem').textContent")
    return said


def _foreign() -> bytes:
    """An ONNX file that is not of maskrt."""
    import onnx

    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) {y = Neg (x)}'
    data: bytes = onnx.parser.parse_model(text).SerializeToString()
    return data


def found_in(page: Browser, picture: Path) -> tuple[list[dict[str, Any]], str]:
    """What the page's first side finds in a picture, and what it says of it."""
    page.choose("#file", picture)
    page.wait(f"!/shown/.test({SAID})", 20)  # a new picture takes the old answer away
    said = page.wait(f"/shown/.test({SAID}) && {SAID}", 300)
    return page.run(FOUND), said


def compare(expected: Instances, found: Sequence[dict[str, Any]], counts: Counts) -> None:
    """Pair instances best first, and count."""
    height, width = expected.image_hw
    left = list(found)
    for index in np.argsort(-expected.scores, kind="stable"):
        counts.instances += 1
        same = [one for one in left if one["label"] == expected.labels[index]]
        if not same:
            continue
        mask = _full(expected.mask_crop(int(index)), height, width)
        masks = [_mask_of(one["mask"], height, width) for one in same]
        overlaps = [_iou(mask, other) for other in masks]
        best = max(
            range(len(same)),
            key=lambda n: overlaps[n] - abs(same[n]["score"] - float(expected.scores[index])),
        )
        one = same[best]
        left.remove(one)
        difference = abs(one["score"] - float(expected.scores[index]))
        counts.largest_score_difference = max(counts.largest_score_difference, difference)
        box_iou = _box_iou(expected.boxes[index].tolist(), one["box"])
        counts.alike += overlaps[best] >= LEAST_IOU and box_iou >= LEAST_IOU and difference < 0.01
        counts.equal_masks += bool((mask == masks[best]).all())
    counts.extra += len(left)


def _full(crop: tuple[Any, tuple[int, int]], height: int, width: int) -> np.ndarray:
    mask, (top, left) = crop
    full = np.zeros((height, width), dtype=bool)
    full[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return full


def _mask_of(mask: dict[str, Any], height: int, width: int) -> np.ndarray:
    bits = np.frombuffer(mask["data"].replace(",", "").encode(), np.uint8) == ord("1")
    return _full(
        (bits.reshape(mask["height"], mask["width"]), (mask["top"], mask["left"])), height, width
    )


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def _box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 1.0


if __name__ == "__main__":
    main()
