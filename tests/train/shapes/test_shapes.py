"""The shapes data set: exact annotations, filled size classes, determinism, whole or absent."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.errors import InputError
from maskrt.train.shapes import drawing as shapes
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.shapes.outlines import CLASS_NAMES, NEW_NAMES, OUTLINES
from maskrt.train.shapes.scenes import MIN_VISIBLE_PX, draw_scene

# pycocotools 2.0.11 decodes through an array protocol that numpy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGES, VAL_IMAGES, SEED = 40, 8, 3
# Polygons are simplified by a third of a pixel and replaced by RLE below this; RLE is exact.
MIN_IOU = 0.97


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "shapes"
    return draw_shapes(out, IMAGES, VAL_IMAGES, SEED, workers=1, progress=False)


def read(folder: Path, split: str = "train") -> dict:
    return json.loads((folder / "annotations" / f"instances_{split}.json").read_text())


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rasterized(segmentation, size_hw) -> np.ndarray:
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    else:
        rle = segmentation
    return coco_mask.decode(rle).astype(bool)


def test_both_splits_are_complete_and_names_match_the_files(drawn: Path) -> None:
    for split, count in (("train", IMAGES), ("val", VAL_IMAGES)):
        coco = read(drawn, split)
        names = [image["file_name"] for image in coco["images"]]
        assert names == [f"{i:06d}.jpg" for i in range(1, count + 1)]
        assert sorted(p.name for p in (drawn / split).iterdir()) == names
        assert tuple(c["name"] for c in coco["categories"]) == CLASS_NAMES


def test_annotations_rasterize_to_the_visible_masks(drawn: Path) -> None:
    coco = read(drawn)
    kinds = set()
    for image in coco["images"]:
        scene = draw_scene(np.random.default_rng([SEED, 0, image["id"] - 1]))
        mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert [a["category_id"] - 1 for a in mine] == list(scene.labels)
        for number, annotation in enumerate(mine, start=1):
            visible = scene.owner == number
            mask = rasterized(annotation["segmentation"], visible.shape)
            iou = np.count_nonzero(mask & visible) / np.count_nonzero(mask | visible)
            assert iou >= MIN_IOU, annotation
            kinds.add(_kind(annotation["segmentation"]))
    assert kinds == {"polygon", "polygons", "rle"}


def _kind(segmentation) -> str:
    if isinstance(segmentation, dict):
        return "rle"
    return "polygon" if len(segmentation) == 1 else "polygons"


def test_area_and_box_are_those_of_the_visible_mask(drawn: Path) -> None:
    coco = read(drawn)
    for annotation in coco["annotations"]:
        scene_index = annotation["image_id"] - 1
        if scene_index >= 10:
            break
        scene = draw_scene(np.random.default_rng([SEED, 0, scene_index]))
        first = next(
            a["id"] for a in coco["annotations"] if a["image_id"] == annotation["image_id"]
        )
        rows, columns = np.nonzero(scene.owner == annotation["id"] - first + 1)
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == len(rows) >= MIN_VISIBLE_PX
        assert annotation["iscrowd"] == 0


def test_pictures_hold_1_to_15_objects_of_all_classes_and_all_three_sizes() -> None:
    scenes = [draw_scene(np.random.default_rng([SEED, 0, i])) for i in range(80)]
    areas = np.concatenate([np.bincount(s.owner.ravel())[1:] for s in scenes])
    assert all(1 <= len(s.labels) <= 15 for s in scenes)
    assert {label for s in scenes for label in s.labels} == set(range(10))
    # Each COCO size class holds at least a twentieth of the objects: its AP means something.
    small, large = np.mean(areas < 32**2), np.mean(areas > 96**2)
    assert min(small, large, 1 - small - large) > 0.05
    sides = np.array([s.owner.shape for s in scenes])
    assert sides.min() >= 240
    assert sides.max() <= 320
    assert (sides[:, 0] > sides[:, 1]).any()
    assert (sides[:, 0] < sides[:, 1]).any()


def test_objects_really_cover_each_other() -> None:
    """Every silhouette is in one piece; only what lies over it can split what is visible."""
    scenes = [draw_scene(np.random.default_rng([SEED, 0, i])) for i in range(30)]
    in_pieces = 0
    for scene in scenes:
        for number in range(1, len(scene.labels) + 1):
            parts, _ = cv2.connectedComponents((scene.owner == number).astype(np.uint8))
            in_pieces += parts > 2
    assert in_pieces >= 3


def test_jpeg_shows_the_scene(drawn: Path) -> None:
    bgr = cv2.imread(str(drawn / "val" / "000002.jpg"))
    scene = draw_scene(np.random.default_rng([SEED, 1, 1]))
    # JPEG at quality 92 with halved colour resolution: a few grey levels on average.
    assert np.abs(bgr[..., ::-1].astype(int) - scene.image).mean() < 12


def test_colour_says_nothing_about_the_class() -> None:
    """Mean colour per class is the same within its standard error (5 of them: one in a million)."""
    colours: list[list[np.ndarray]] = [[] for _ in CLASS_NAMES]
    for index in range(80):
        scene = draw_scene(np.random.default_rng([SEED, 0, index]))
        for number, label in enumerate(scene.labels, start=1):
            colours[label].append(scene.image[scene.owner == number].mean(axis=0))
    everything = np.concatenate([np.array(c) for c in colours])
    for samples in colours:
        error = everything.std(axis=0) / np.sqrt(len(samples))
        assert np.all(np.abs(np.mean(samples, axis=0) - everything.mean(axis=0)) < 5 * error)


def test_pictures_do_not_depend_on_how_many_are_drawn(drawn: Path, tmp_path: Path) -> None:
    few = draw_shapes(tmp_path / "few", 5, 2, SEED, workers=1, progress=False)
    all_files, few_files = files_of(drawn), files_of(few)
    pictures = [name for name in few_files if name.endswith(".jpg")]
    assert len(pictures) == 7
    assert all(few_files[name] == all_files[name] for name in pictures)


def test_pictures_do_not_depend_on_the_number_of_workers(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "_IN_PROCESS", 0)
    again = draw_shapes(tmp_path / "two", IMAGES, VAL_IMAGES, SEED, workers=2, progress=False)
    assert files_of(again) == files_of(drawn)


def test_another_seed_and_the_other_split_give_other_pictures() -> None:
    first, other_seed, val = (
        draw_scene(np.random.default_rng(key)).image.tobytes()
        for key in ([0, 0, 0], [1, 0, 0], [0, 1, 0])
    )
    assert len({first, other_seed, val}) == 3


def test_sizes_are_taken_in_turn(tmp_path: Path) -> None:
    sizes = ((250, 300), (300, 250))
    draw_shapes(tmp_path / "out", 0, 3, SEED, sizes_hw=sizes, progress=False)
    images = read(tmp_path / "out", "val")["images"]
    assert [(i["height"], i["width"]) for i in images] == [sizes[0], sizes[1], sizes[0]]
    again = draw_shapes(tmp_path / "out", 0, 3, SEED, sizes_hw=sizes, progress=False)
    assert read(again, "val")["images"] == images
    with pytest.raises(InputError, match="asked for"):
        draw_shapes(tmp_path / "out", 0, 3, SEED, progress=False)


def test_same_parameters_reuse_the_folder_untouched(drawn: Path) -> None:
    before = (drawn / "shapes.json").stat().st_mtime_ns
    assert draw_shapes(drawn, IMAGES, VAL_IMAGES, SEED, progress=False) == drawn
    assert (drawn / "shapes.json").stat().st_mtime_ns == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "empty"
    out.mkdir()
    draw_shapes(out, 1, 0, progress=False)
    assert read(out)["images"]
    assert read(out, "val")["images"] == []


def test_other_parameters_are_refused(drawn: Path) -> None:
    before = files_of(drawn)
    with pytest.raises(InputError, match=r"made with .*seed 3.*asked for .*seed 4"):
        draw_shapes(drawn, IMAGES, VAL_IMAGES, 4, progress=False)
    assert files_of(drawn) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty and without"):
        draw_shapes(tmp_path, 1, 1, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="a file; expected a folder"):
        draw_shapes(tmp_path / "out", 1, 1, progress=False)


def test_a_broken_parameter_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shapes.json").write_text("{")
    with pytest.raises(InputError, match=r"shapes\.json: unreadable"):
        draw_shapes(tmp_path, 1, 1, progress=False)


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        draw_shapes(tmp_path / "file" / "out", 1, 1, progress=False)


@pytest.mark.parametrize(
    ("images", "val_images", "seed"),
    [(0, 0, 0), (-1, 5, 0), (5, -1, 0), (1, 1, -1), (10**12, 1, 0), (1, 10**6, 0)],
    ids=["none", "negative-train", "negative-val", "negative-seed", "huge-train", "seven-digits"],
)
def test_impossible_parameters_are_refused(tmp_path: Path, images, val_images, seed) -> None:
    with pytest.raises(InputError, match="expected"):
        draw_shapes(tmp_path / "out", images, val_images, seed, progress=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_worker_and_the_next_one_clears_up(
    tmp_path: Path, signal_number: int
) -> None:
    out = tmp_path / "out"
    words = ["data", "shapes", "--out", str(out), "--images", "20000"]
    run = subprocess.Popen([sys.executable, "-m", "maskrt", *words], stderr=subprocess.DEVNULL)
    pictures = f".{out.name}.*.tmp/train/*.jpg"
    assert _within(60, lambda: any(tmp_path.glob(pictures)))
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert len(workers) >= 1
    run.send_signal(signal_number)
    run.wait(60)
    assert _within(20, lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers))
    draw_shapes(out, 1, 0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "_coco", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(tmp_path / "out", 2, 1, progress=False)
    assert not any(tmp_path.iterdir())


def test_other_kinds_are_drawn_on_request(tmp_path: Path) -> None:
    out = draw_shapes(tmp_path / "out", 12, 1, SEED, kinds=NEW_NAMES, progress=False)
    coco = read(out)
    assert tuple(c["name"] for c in coco["categories"]) == NEW_NAMES
    assert {a["category_id"] for a in coco["annotations"]} == {1, 2, 3}
    assert set(OUTLINES) == {*CLASS_NAMES, *NEW_NAMES}
    with pytest.raises(InputError, match=r"made with .*kinds"):
        draw_shapes(out, 12, 1, SEED, progress=False)
