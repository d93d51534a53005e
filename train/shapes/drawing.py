"""A COCO-format data set that maskrt draws itself, so that every claim can be checked anywhere.

    OUT/train/000001.jpg ...   OUT/annotations/instances_train.json
    OUT/val/000001.jpg ...     OUT/annotations/instances_val.json
    OUT/shapes.json            the parameters; same parameters mean the same files

Picture `index` of a split depends on (seed, split, index) alone, not on how many are asked for or
on the number of workers. What a picture holds is drawn by `scenes`; here it becomes files.
OUT is either whole or absent (`whole_folder`).

Source of the format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...runtime.errors import InputError
from ...runtime.whole_folder import whole_folder
from .outlines import CLASS_NAMES
from .scenes import Bytes, draw_scene

SPLITS = ("train", "val")
PARAMETERS_FILE = "shapes.json"
MOST_PICTURES = 999_999
"""Of a split: their names have six digits."""
DRAWING = 1
"""Raised whenever the same seed would give other pictures; part of the parameters on disk."""

_JPEG_QUALITY = 92
_POLYGON_TOLERANCE_PX = 0.35
_MIN_POLYGON_IOU = 0.97  # a polygon that rasterizes worse than this gives way to exact RLE
_IN_PROCESS = 64  # fewer pictures than this are drawn before a worker process has started


def draw_shapes(
    out: Path,
    images: int = 2000,
    val_images: int = 200,
    seed: int = 0,
    *,
    sizes_hw: tuple[tuple[int, int], ...] = (),
    kinds: tuple[str, ...] = CLASS_NAMES,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write the data set to `out`, or find it there already.

    Args:
        out: folder to make; it may exist when it is empty or holds the same data set.
        images: number of train pictures, 0 for none.
        val_images: number of val pictures, 0 for none.
        seed: 0 or more; another seed gives other pictures.
        sizes_hw: height and width in pixels of pictures, taken in turn; empty leaves them to seed.
        kinds: of objects, in the order of their category ids, names of `outlines.OUTLINES`.
        workers: processes; default one per core, 8 at most.
        progress: show a progress bar on standard error.

    Returns:
        `out`.

    Raises:
        InputError: a parameter is impossible, `out` holds something else, or cannot be written.
    """
    _check(images, val_images, seed)
    parameters: dict[str, Any] = {
        "drawing": DRAWING,
        "images": images,
        "seed": seed,
        "val_images": val_images,
    }
    if sizes_hw:
        parameters["sizes_hw"] = [list(hw) for hw in sizes_hw]
    if kinds != CLASS_NAMES:
        parameters["kinds"] = list(kinds)
    if _already_there(out, parameters):
        return out
    with whole_folder(out) as temporary:
        draw = functools.partial(_draw_picture, temporary, seed, sizes_hw, kinds)
        entries = _draw_splits(temporary, (images, val_images), draw, workers, progress)
        for name, of_split in zip(SPLITS, entries, strict=True):
            text = json.dumps(_coco(of_split, seed, kinds), separators=(",", ":"))
            (temporary / "annotations" / f"instances_{name}.json").write_text(text)
        (temporary / PARAMETERS_FILE).write_text(json.dumps(parameters) + "\n")
    return out


def _check(images: int, val_images: int, seed: int) -> None:
    if not 0 <= min(images, val_images) <= max(images, val_images) <= MOST_PICTURES:
        raise InputError(
            f"shapes: {images} train and {val_images} val pictures were asked for; "
            f"expected 0 to {MOST_PICTURES} of each. Choose other numbers of images."
        )
    if images + val_images == 0:
        raise InputError("shapes: no picture was asked for; expected one or more. Raise --images.")
    if seed < 0:
        raise InputError(f"shapes: seed {seed}; expected 0 or more. Choose another seed.")


def _already_there(out: Path, parameters: dict[str, Any]) -> bool:
    """Whether `out` is this very data set; InputError when it is something else."""
    if not os.path.exists(out):  # pathlib's own raises for a name that is too long
        return False
    if not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder to make. Choose another place.")
    try:
        found = json.loads((out / PARAMETERS_FILE).read_text())
    except FileNotFoundError:
        if not any(out.iterdir()):
            return False
        raise InputError(
            f"{out}: not empty and without {PARAMETERS_FILE}; expected a new folder or a shapes "
            "data set with the same parameters. Choose another folder."
        ) from None
    except (OSError, ValueError, RecursionError) as err:
        raise InputError(
            f"{out / PARAMETERS_FILE}: unreadable ({err}); expected the parameters of a shapes "
            "data set. Choose another folder or remove this one."
        ) from err
    if found != parameters:
        raise InputError(
            f"{out}: holds a shapes data set made with {_in_words(found)}; asked for "
            f"{_in_words(parameters)}. Choose another folder or remove this one."
        )
    return True


def _in_words(parameters: Any) -> str:
    if not isinstance(parameters, dict):
        return str(parameters)
    return ", ".join(f"{key} {value}" for key, value in sorted(parameters.items()))


def _draw_splits(
    folder: Path,
    counts: tuple[int, int],
    draw: functools.partial[Any],
    workers: int | None,
    progress: bool,
) -> tuple[list[Any], list[Any]]:
    """Write all pictures; returns what `_draw_picture` does, by split."""
    (folder / "annotations").mkdir()
    tasks = [(split, index) for split, count in enumerate(counts) for index in range(count)]
    entries: tuple[list[Any], list[Any]] = ([], [])
    drawn = _drawn(draw, tasks, workers)
    for name in SPLITS:
        (folder / name).mkdir()
    for (split, _), entry in zip(tasks, _tracked(drawn, len(tasks), progress), strict=True):
        entries[split].append(entry)
    return entries


def _drawn(
    draw: functools.partial[Any], tasks: list[tuple[int, int]], workers: int | None
) -> Iterator[Any]:
    """Results in the order of `tasks`, from worker processes when it pays."""
    workers = workers or min(os.cpu_count() or 1, 8)
    if workers == 1 or len(tasks) < _IN_PROCESS:
        yield from map(draw, tasks)
        return
    # spawn: a fork would inherit locked threads of torch and OpenCV.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(draw, tasks, chunksize=16)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent leaves its workers waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _tracked(items: Iterable[Any], total: int, progress: bool) -> Iterable[Any]:
    if not progress:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, "drawing shapes", total=total, console=Console(stderr=True))


def _draw_picture(
    folder: Path,
    seed: int,
    sizes_hw: tuple[tuple[int, int], ...],
    kinds: tuple[str, ...],
    task: tuple[int, int],
) -> Any:
    """Write one JPEG; return its size and annotations, ids still to be given."""
    split, index = task
    image_hw = sizes_hw[index % len(sizes_hw)] if sizes_hw else None
    scene = draw_scene(np.random.default_rng([seed, split, index]), image_hw, kinds)
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    (folder / SPLITS[split] / _file_name(index)).write_bytes(data.tobytes())
    annotations = [
        {"category_id": label + 1, "iscrowd": 0, **_region(scene.owner == number)}
        for number, label in enumerate(scene.labels, start=1)
    ]
    return scene.owner.shape, annotations


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _region(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """COCO's `area`, `bbox` (x, y, w, h) and `segmentation` of one visible mask (H, W)."""
    from pycocotools import mask as coco_mask

    exact = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    polygons = _polygons(mask.astype(np.uint8))
    segmentation: Any = polygons
    if polygons is not None:
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))
        if coco_mask.iou([rle], [exact], [0])[0, 0] < _MIN_POLYGON_IOU:
            polygons = None
    if polygons is None:
        segmentation = {"size": exact["size"], "counts": exact["counts"].decode()}
    return {
        "area": int(coco_mask.area(exact)),
        "bbox": [int(v) for v in coco_mask.toBbox(exact)],
        "segmentation": segmentation,
    }


def _polygons(mask: Bytes) -> list[list[float]] | None:
    """Outlines of every part of `mask` in pixel-edge coordinates; None when there is a hole.

    Contours run through pixel centres, which would cut half a pixel off every side. The mask is
    enlarged twice, so that they run a quarter of a pixel inside the true edge and enclose every
    pixel centre: rasterizing them gives the mask back.
    """
    fine = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if np.any(hierarchy[0, :, 3] >= 0):
        return None
    simple = [cv2.approxPolyDP(c, 2 * _POLYGON_TOLERANCE_PX, True) for c in contours]
    if any(len(c) < 3 for c in simple):
        return None
    return [((c.reshape(-1) + 0.5) / 2).tolist() for c in simple]


def _coco(entries: list[Any], seed: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The annotation file; ids count from 1, category ids are labels + 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, (size_hw, regions) in enumerate(entries):
        images.append(
            {
                "id": index + 1,
                "file_name": _file_name(index),
                "height": size_hw[0],
                "width": size_hw[1],
            }
        )
        for region in regions:
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **region})
    categories = [
        {"id": label + 1, "name": name, "supercategory": "shape"}
        for label, name in enumerate(kinds)
    ]
    info = {"description": f"maskrt shapes, seed {seed}", "version": str(DRAWING)}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}
