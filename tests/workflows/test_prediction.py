"""Prediction of files: the tiny artefact gives two instances, their score the peak pixel / 255."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.preprocess import read_image
from maskrt.runtime.pictures.video import VideoReader
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.open import ModelRef
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.workflows.prediction import Written, predict_files, predict_sources

FRAMES = 5


@pytest.fixture
def predictor(write_onnx: Callable[[str | None], Path], tiny_contract: Contract) -> Predictor:
    return Predictor(OrtSession(write_onnx(tiny_contract.to_json()), provider="cpu", threads=1))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three bright pictures, two kinds of file, and a file that is none."""
    folder = tmp_path / "pictures"
    picture(folder / "c.png", (40, 60))
    picture(folder / "a.jpg", (64, 96))
    picture(folder / "b.bmp", (50, 30))
    (folder / "notes.txt").write_text("no picture")
    return folder


def picture(path: Path, hw: tuple[int, int], value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*hw, 3), value, np.uint8))
    return path


def video(path: Path, hw: tuple[int, int] = (64, 96), frames: int = FRAMES) -> Path:
    width_height = (hw[1], hw[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, width_height)
    rng = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(rng.integers(0, 256, (*hw, 3), dtype=np.uint8))
    writer.release()
    return path


def run(predictor: Predictor, sources: list[Path], out: Path, score: float = 0.5) -> Written:
    return predict_sources(predictor, sources, out, score)


def results(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "results.json").read_text())
    return read


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_imported_network_is_called_imported(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    pictures: Path,
    tmp_path: Path,
) -> None:
    origin = "imported from model_final.pkl (Detectron2 Mask R-CNN C4)"
    contract = dataclasses.replace(tiny_contract, origin=origin)
    written = predict_files(write_onnx(contract.to_json()), [pictures], tmp_path / "out")
    assert written.origin == origin


def test_a_folder_gives_one_overlay_per_picture_in_the_order_of_names(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = run(predictor, [pictures], out)
    lost, expected = written.lost, str(out / "results.json")
    knows = "knows 2 classes: disc, star"
    assert written == Written(3, 6, expected, skipped={".txt": 1}, lost=lost, knows=knows, best=1.0)
    # 50 x 30 is 48 x 29 by the rule, and 32 x 19 on 32 x 48
    assert lost is not None
    assert lost.startswith("1 of 3 pictures loses 56% of the pixels")
    assert names(out) == ["a.jpg", "b.png", "c.png", "results.json"]
    images = results(out)["images"]
    assert [Path(i["file_name"]).name for i in images] == ["a.jpg", "b.bmp", "c.png"]
    assert [(i["id"], i["height"], i["width"]) for i in images] == [
        (1, 64, 96),
        (2, 50, 30),
        (3, 40, 60),
    ]


def test_the_overlay_is_the_picture_with_its_instances_drawn(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    run(predictor, [pictures / "c.png"], tmp_path / "out")
    image = read_image(pictures / "c.png")
    expected = predictor.predict([image])[0].draw(image)
    assert np.array_equal(read_image(tmp_path / "out" / "c.png"), expected)
    assert not np.array_equal(expected, image)


def test_instances_below_the_score_are_kept_in_the_results_but_not_drawn(
    predictor: Predictor, tmp_path: Path
) -> None:
    dim = picture(tmp_path / "dim.png", (64, 96), 102)  # score 0.4
    written = run(predictor, [dim], tmp_path / "out", score=0.5)
    assert written.instances == 0
    assert written.best == pytest.approx(0.4)
    assert np.array_equal(read_image(tmp_path / "out" / "dim.png"), read_image(dim))
    scores = [row["score"] for row in results(tmp_path / "out")["annotations"]]
    assert scores == pytest.approx([0.4, 0.4], abs=1e-6)


def test_pycocotools_loads_the_results(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO

    run(predictor, [pictures], tmp_path / "out")
    found = results(tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": found["images"], "categories": found["categories"]}
        truth.createIndex()
        loaded = truth.loadRes(found["annotations"])
    assert sorted(loaded.getImgIds()) == [1, 2, 3]
    whole = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))[0]
    assert loaded.annToMask(whole).shape == (64, 96)
    assert whole["bbox"] == pytest.approx([0, 0, 96, 64])
    assert {c["id"]: c["name"] for c in found["categories"]} == {1: "disc", 2: "star"}


def test_the_results_are_annotations_to_learn_from(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO

    run(predictor, [pictures], tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "out" / "results.json")
    rows = truth.loadAnns(truth.getAnnIds(areaRng=[1, 1e9], iscrowd=False))
    assert len(rows) == 6
    assert all(row["area"] == truth.annToMask(row).sum() for row in rows)


def test_equal_names_from_two_folders_do_not_overwrite_each_other(
    predictor: Predictor, tmp_path: Path
) -> None:
    first = picture(tmp_path / "one" / "a.jpg", (64, 96))
    second = picture(tmp_path / "two" / "A.JPG", (40, 60))
    third = picture(tmp_path / "two" / "a_2.jpg", (30, 30))
    run(predictor, [first, tmp_path / "two"], tmp_path / "out")
    assert names(tmp_path / "out") == ["A_2.jpg", "a.jpg", "a_2_2.jpg", "results.json"]
    found = results(tmp_path / "out")["images"]
    assert [i["file_name"] for i in found] == [str(first), str(second), str(third)]
    for entry in found:
        overlay = read_image(tmp_path / "out" / entry["overlay"])
        assert overlay.shape[:2] == (entry["height"], entry["width"])


def test_a_video_gives_a_video_and_an_image_per_frame(predictor: Predictor, tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.avi")
    written = run(predictor, [clip], tmp_path / "out")
    assert (written.pictures, written.instances) == (FRAMES, 2 * FRAMES)
    assert names(tmp_path / "out") == ["clip.mp4", "results.json"]
    with VideoReader(tmp_path / "out" / "clip.mp4") as overlay:
        frames = list(overlay.frames())
        assert overlay.fps == pytest.approx(10)
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * FRAMES
    images = results(tmp_path / "out")["images"]
    assert [(i["id"], i["frame"]) for i in images] == [(n + 1, n) for n in range(FRAMES)]


def test_pictures_and_videos_keep_the_order_given(predictor: Predictor, tmp_path: Path) -> None:
    a = picture(tmp_path / "a.png", (40, 60))
    clip = video(tmp_path / "clip.mp4", frames=1)
    b = picture(tmp_path / "b.png", (40, 60))
    run(predictor, [b, clip, a], tmp_path / "out")
    found = [i["file_name"] for i in results(tmp_path / "out")["images"]]
    assert found == [str(b), str(clip), str(a)]


def test_a_broken_picture_is_named_and_the_others_are_finished(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "b.bmp").write_text("text, renamed")
    (sentence,) = run(predictor, [pictures], tmp_path / "out").broken
    assert re.search(r"b\.bmp: not a whole picture", sentence)
    assert names(tmp_path / "out") == ["a.jpg", "c.png", "results.json"]
    assert [i["id"] for i in results(tmp_path / "out")["images"]] == [1, 2]


def test_several_broken_pictures_are_counted(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.bmp", "c.png"):
        (pictures / name).write_bytes((pictures / name).read_bytes()[:30])
    with pytest.raises(InputError, match=r"a\.jpg: not a whole picture.* 2 more files are broken"):
        run(predictor, [pictures], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_cut_video_is_refused_and_leaves_nothing_of_itself(
    predictor: Predictor, tmp_path: Path, suffix: str
) -> None:
    clip = video(tmp_path / f"clip{suffix}")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
    whole = picture(tmp_path / "a.png", (40, 60))
    (sentence,) = run(predictor, [clip, whole], tmp_path / "out").broken
    assert f"clip{suffix}: not a whole video" in sentence
    assert names(tmp_path / "out") == ["a.png", "results.json"]
    found = results(tmp_path / "out")
    assert [i["file_name"] for i in found["images"]] == [str(whole)]
    assert {row["image_id"] for row in found["annotations"]} == {1}


def test_an_overlay_that_cannot_be_written_costs_that_overlay(
    predictor: Predictor, tmp_path: Path
) -> None:
    """Two pictures and a video whose overlays' names are too long, for they become a_2."""
    name = "x" * 251
    sources = [
        *(picture(tmp_path / folder / f"{name}.png", (40, 60)) for folder in "abc"),
        *(video(tmp_path / folder / "clip.mp4").rename(tmp_path / folder / f"{name}.mp4")
          for folder in "ab"),
        picture(tmp_path / "last.png", (40, 60)),
    ]  # fmt: skip
    written = run(predictor, sources, tmp_path / "out")
    assert [sentence[-60:] for sentence in written.broken] == [
        "(File name too long); nothing was left behind. Choose another name."[-60:]
    ] * 3
    assert written.pictures == 4 + 2 * FRAMES
    assert names(tmp_path / "out") == ["last.png", "results.json", f"{name}.mp4", f"{name}.png"]
    found = results(tmp_path / "out")
    overlays = [image["overlay"] for image in found["images"]]
    assert overlays == [
        *(f"{name}.png", None, None, *[f"{name}.mp4"] * FRAMES, *[None] * FRAMES, "last.png")
    ]
    assert len(found["annotations"]) == 2 * written.pictures


def test_a_side_that_jpeg_does_not_take_costs_the_overlay(
    predictor: Predictor, tmp_path: Path
) -> None:
    long = tmp_path / "long.jpg"  # a PNG by its bytes
    picture(tmp_path / "long.png", (1, 70_000)).rename(long)
    (sentence,) = run(predictor, [long], tmp_path / "out").broken
    assert "long.jpg: a picture of 70000 x 1 px cannot be written in this format" in sentence
    assert names(tmp_path / "out") == ["results.json"]


def test_files_of_earlier_runs_are_counted(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(predictor, [pictures / "a.jpg", pictures / "c.png"], out).others == 0
    assert run(predictor, [pictures / "c.png"], out).others == 1
    assert names(out) == ["a.jpg", "c.png", "results.json"]


@pytest.mark.parametrize("kind", ["loop", "below a loop", "long"])
def test_a_folder_that_cannot_be_is_refused_at_once(
    predictor: Predictor, pictures: Path, tmp_path: Path, kind: str
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    out = {"loop": loop, "below a loop": loop / "out", "long": tmp_path / ("x" * 5000)}[kind]
    with pytest.raises(InputError, match=r"a link to nothing|could not be written") as err:
        run(predictor, [pictures / "c.png"], out)
    assert len(str(err.value)) < 500


def test_memory_does_not_grow_with_a_video(predictor: Predictor, tmp_path: Path) -> None:
    peaks = []
    for frames in (20, 400):
        clip = video(tmp_path / f"{frames}.avi", frames=frames)
        tracemalloc.start()
        run(predictor, [clip], tmp_path / "out")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000  # 380 frames and their rows are over 1 MB as Python objects


def test_a_wrong_source_is_refused_before_anything_is_written(
    predictor: Predictor, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"absent\.jpg: no such file or folder"):
        run(predictor, [pictures, tmp_path / "absent.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_overlays_never_go_where_a_source_is(predictor: Predictor, pictures: Path) -> None:
    before = names(pictures)
    with pytest.raises(InputError, match=r"holds the source a\.jpg.* Choose another --out"):
        run(predictor, [pictures], pictures)
    assert names(pictures) == before


def test_a_file_in_the_place_of_the_folder_is_refused(predictor: Predictor, pictures: Path) -> None:
    with pytest.raises(InputError, match="a file; expected a folder"):
        run(predictor, [pictures], pictures / "notes.txt")


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_its_range_is_refused(
    predictor: Predictor, pictures: Path, tmp_path: Path, score: float
) -> None:
    with pytest.raises(InputError, match="--score"):
        run(predictor, [pictures], tmp_path / "out", score)


class OneTwice(OrtSession):
    """Both instances are the same object."""

    def run(self, images: Any, image_sizes: Any) -> dict[str, Any]:
        outputs = super().run(images, image_sizes)
        outputs["labels"][:] = 0
        outputs["boxes"][:, 1] = outputs["boxes"][:, 0]
        return outputs


def test_suppression_is_the_runs_or_the_predictors(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    pictures: Path,
    tmp_path: Path,
) -> None:
    session = OneTwice(write_onnx(tiny_contract.to_json()), provider="cpu", threads=1)
    out, one = tmp_path / "out", [pictures / "c.png"]
    assert predict_sources(Predictor(session), one, out).instances == 2
    assert predict_sources(Predictor(session), one, out, nms_iou=0.7).instances == 1
    assert predict_sources(Predictor(session, nms_iou=0.7), one, out).instances == 1


def test_progress_is_told_after_every_picture_and_frame(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    pictures: Path,
    tmp_path: Path,
) -> None:
    model = ModelRef(write_onnx(tiny_contract.to_json()), "onnxruntime-cpu")
    (pictures / "b.bmp").write_text("broken")
    clip = video(tmp_path / "clip.avi", frames=2)
    told: list[tuple[float, str]] = []
    predict_files(
        model,
        [pictures, clip],
        tmp_path / "out",
        on_progress=lambda share, name: told.append((share, name)),
    )
    assert sorted(name for _, name in told[:3]) == ["a.jpg", "b.bmp", "c.png"]
    assert [name for _, name in told[3:]] == ["clip.avi"] * 3
    assert [share for share, _ in told[-3:]] == pytest.approx([4 / 6, 5 / 6, 1])
