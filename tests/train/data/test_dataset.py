"""COCO folders, augmentation and batches."""

import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskrt.eval.datasets.source import DataSource
from maskrt.runtime.contract import ResizeRule
from maskrt.runtime.errors import InputError
from maskrt.train.data.augment import Augmentation, augment
from maskrt.train.data.batches import Batch, collate, loader, steps_per_epoch
from maskrt.train.data.dataset import CocoInstances, Sample
from maskrt.train.shapes.drawing import draw_shapes

# pycocotools 2.0.11 decodes through an array protocol that numpy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HALF = Augmentation(ResizeRule(0, 32), flip=0.0)  # the pictures below have a long side of 64

SQUARE = [[10, 5, 30, 5, 30, 25, 10, 25]]  # x 10..30, y 5..25


def coco_of(annotations: list[dict], **changes: object) -> dict:
    """Two pictures, 48 x 64 and 64 x 48 (h x w); categories 7 and 3, out of order."""
    return {
        "images": [
            {"id": 20, "file_name": "b.png", "height": 64, "width": 48},
            {"id": 10, "file_name": "a.png", "height": 48, "width": 64},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "bird"}],
        "annotations": [{"id": i + 1, "image_id": 10, **a} for i, a in enumerate(annotations)],
        **changes,
    }


def write(folder: Path, coco: object, name: str = "train") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for picture, size_hw in (("a.png", (48, 64)), ("b.png", (64, 48))):
        bgr = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name / picture), bgr)
    (folder / "annotations" / "instances_val.json").touch()  # without one a share of train is val
    path = folder / "annotations" / f"instances_{name}.json"
    path.write_text(coco if isinstance(coco, str) else json.dumps(coco))
    return folder


def oddly(folder: Path) -> CocoInstances:
    """The train split of a folder whose objects would not pass for labelled ones."""
    return CocoInstances(DataSource(folder, lenient=True), "train")


def box(category_id: int = 3, xywh=(10, 5, 20, 20), segmentation=SQUARE, **more: object) -> dict:
    return {
        "bbox": list(xywh),
        "category_id": category_id,
        "segmentation": segmentation,
        "area": 400,
        **more,
    }


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> CocoInstances:
    out = tmp_path_factory.mktemp("data") / "shapes"
    return CocoInstances(draw_shapes(out, 23, 2, seed=5, progress=False), "train")


def test_sample_has_the_annotated_values(tmp_path: Path) -> None:
    dataset = CocoInstances(write(tmp_path, coco_of([box(3), box(7)])), "train")
    sample = dataset[0]
    assert dataset.class_names == ("bird", "cat")
    assert dataset.category_ids == (3, 7)
    assert sample.image_id == 10
    assert sample.labels.tolist() == [0, 1]
    assert sample.labels.dtype == np.int64
    assert sample.boxes.tolist() == [[10, 5, 30, 25]] * 2
    assert sample.boxes.dtype == np.float32
    assert sample.iscrowd.tolist() == [False, False]
    expected = np.zeros((48, 64), np.uint8)
    expected[5:25, 10:30] = 1
    assert np.array_equal(sample.masks(), [expected, expected])


def test_image_is_rgb(tmp_path: Path) -> None:
    write(tmp_path, coco_of([box()]))
    cv2.imwrite(str(tmp_path / "train" / "a.png"), np.full((48, 64, 3), (255, 0, 0), np.uint8))
    image = CocoInstances(tmp_path, "train")[0].image
    assert image[0, 0].tolist() == [0, 0, 255]


def test_cocos_own_folder_names_are_found(tmp_path: Path) -> None:
    write(tmp_path, coco_of([box()]), "val2017")
    assert len(CocoInstances(tmp_path, "val")) == 2


def test_rle_compressed_and_uncompressed_and_crowd(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), np.uint8, order="F")
    mask[3:9, 20:50] = 1
    compressed = coco_mask.encode(mask)
    compressed["counts"] = compressed["counts"].decode()
    flips = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
    counts = np.diff(np.concatenate([[0], flips, [mask.size]])).tolist()
    uncompressed = {"size": [48, 64], "counts": counts}
    coco = coco_of([box(segmentation=compressed), box(segmentation=uncompressed, iscrowd=1)])
    sample = oddly(write(tmp_path, coco))[0]
    assert sample.iscrowd.tolist() == [False, True]
    assert np.array_equal(sample.masks(), [mask, mask])


def test_polygons_of_one_object_are_united(tmp_path: Path) -> None:
    parts = [[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 14, 10, 14, 14, 10, 14]]
    coco = coco_of([box(segmentation=parts)])
    masks = oddly(write(tmp_path, coco))[0].masks()
    assert masks.shape == (1, 48, 64)
    assert masks.sum() == 32


def test_empty_image_gives_zero_instances(tmp_path: Path) -> None:
    sample = CocoInstances(write(tmp_path, coco_of([box()])), "train")[1]
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == sample.iscrowd.shape == (0,)
    assert sample.masks().shape == (0, 64, 48)
    assert augment(sample, HALF, generator()).masks().shape == (0, 32, 24)


@pytest.mark.parametrize(
    "annotation",
    [
        box(xywh=(10, 5, 0, 20)),
        box(segmentation=[]),
        box(xywh=(64, 5, 9, 9)),
        box(xywh=(-9, -9, 5, 5), segmentation=[[-9, -9, -4, -9, -4, -4]]),
    ],
    ids=["no-width", "no-polygon", "outside", "negative"],
)
def test_objects_that_cannot_be_learnt_are_left_out_and_counted(
    tmp_path: Path, annotation: dict, caplog: pytest.LogCaptureFixture
) -> None:
    coco = coco_of([annotation, box(7)])
    assert oddly(write(tmp_path, coco))[0].labels.tolist() == [1]
    assert re.search(r"1 of 2 objects have no (mask|box inside their picture): left", caplog.text)


def test_an_area_of_zero_is_no_reason_to_leave_an_object_out(tmp_path: Path) -> None:
    coco = coco_of([box(area=0), box(7, area=None)])
    assert CocoInstances(write(tmp_path, coco), "train")[0].labels.tolist() == [0, 1]


@pytest.mark.parametrize("annotations", [[], [box(xywh=(64, 5, 9, 9))]], ids=["none", "outside"])
def test_a_set_without_an_object_is_refused(tmp_path: Path, annotations: list[dict]) -> None:
    with pytest.raises(InputError, match=rf"0 of {len(annotations)} objects have a box inside"):
        oddly(write(tmp_path, coco_of(annotations)))


def test_crowds_alone_train_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = CocoInstances(write(tmp_path, coco_of([box(iscrowd=1)])), "train")
    assert dataset[0].iscrowd.tolist() == [True]
    assert "every object is a crowd: no example to learn" in caplog.text


def test_boxes_are_clipped_to_the_picture(tmp_path: Path) -> None:
    coco = coco_of([box(xywh=(-5, -5, 100, 20))])
    assert oddly(write(tmp_path, coco))[0].boxes.tolist() == [[0, 0, 64, 15]]


def test_halving_halves_boxes_and_masks(tmp_path: Path) -> None:
    rle = coco_mask.frPyObjects(SQUARE, 48, 64)[0]
    rle["counts"] = rle["counts"].decode()
    coco = coco_of([box(), box(segmentation=rle)])
    sample = augment(CocoInstances(write(tmp_path, coco), "train")[0], HALF, generator())
    assert sample.image.shape == (24, 32, 3)
    assert sample.boxes.tolist() == [[5, 2.5, 15, 12.5]] * 2
    polygon, resampled = sample.masks()
    for mask in (polygon, resampled):
        assert mask.shape == (24, 32)
        assert mask[3:12, 5:15].all()
        # rows 2 and 12 are half covered, so either answer is right there; nothing else is
        assert mask.sum() - mask[2:13, 5:15].sum() == 0


def test_mirroring_mirrors_picture_boxes_and_masks(drawn: CocoInstances) -> None:
    for index in range(5):
        sample = drawn[index]
        h, w = sample.image.shape[:2]
        mirror = Augmentation(ResizeRule(0, max(h, w)), flip=1.0)
        mirrored = augment(sample, mirror, generator())
        assert np.array_equal(mirrored.image, sample.image[:, ::-1])
        assert np.array_equal(mirrored.boxes[:, 0], w - sample.boxes[:, 2])
        assert np.array_equal(mirrored.boxes[:, 3], sample.boxes[:, 3])
        wrong = np.mean(mirrored.masks() != sample.masks()[:, :, ::-1])
        assert wrong < 1e-3  # pycocotools breaks ties on an edge towards one side


def test_masks_stay_inside_their_boxes_after_scaling(drawn: CocoInstances) -> None:
    for index in range(8):
        augmentation = Augmentation(ResizeRule(0, 640), short_sides_px=(150, 400))
        sample = augment(drawn[index], augmentation, np.random.default_rng(index))
        for (x0, y0, x1, y1), mask in zip(sample.boxes, sample.masks(), strict=True):
            rows, columns = np.nonzero(mask)
            # a pixel's centre at most half a pixel outside, by RLE's resampling
            assert x0 - 1 <= columns.min()
            assert columns.max() + 1 <= x1 + 1
            assert y0 - 1 <= rows.min()
            assert rows.max() + 1 <= y1 + 1


def test_short_side_is_one_of_the_choices(drawn: CocoInstances) -> None:
    augmentation = Augmentation(ResizeRule(0, 1000), short_sides_px=(100, 120))
    sides = {
        min(augment(drawn[0], augmentation, np.random.default_rng(i)).image.shape[:2])
        for i in range(20)
    }
    assert sides == {100, 120}


def test_long_side_is_drawn_from_the_range_and_sides_are_multiples(drawn: CocoInstances) -> None:
    several = Augmentation(ResizeRule(0, 64, multiple_px=4), long_side_px=(48, 53))
    sizes = set()
    for seed in range(12):
        sizes.add(augment(drawn[0], several, np.random.default_rng(seed)).image.shape[:2])
    assert {max(size) for size in sizes} == {48, 52}
    assert all(side % 4 == 0 for size in sizes for side in size)


def test_jitter_recolours_and_leaves_the_instances(drawn: CocoInstances) -> None:
    sample, (h, w) = drawn[0], drawn.size_hw(0)
    rule = ResizeRule(0, max(h, w))
    plain = augment(sample, Augmentation(rule, flip=0.0), generator())
    jittered = augment(sample, Augmentation(rule, flip=0.0, jitter=0.4), generator())
    assert np.array_equal(plain.image, sample.image)
    assert not np.array_equal(jittered.image, sample.image)
    assert np.array_equal(jittered.boxes, sample.boxes)


def test_augment_leaves_its_input_alone(drawn: CocoInstances) -> None:
    sample = drawn[1]
    before = sample.image.copy(), sample.boxes.copy(), sample.masks()
    augment(sample, Augmentation(ResizeRule(0, 200), flip=1.0, jitter=0.5), generator())
    for old, new in zip(before, (sample.image, sample.boxes, sample.masks()), strict=True):
        assert np.array_equal(old, new)


def test_collate_pads_to_a_multiple_and_separates_crowds(tmp_path: Path) -> None:
    crowd = box(segmentation=SQUARE, iscrowd=1)
    dataset = oddly(write(tmp_path, coco_of([box(3), crowd, box(7)])))
    first, empty = dataset[0], dataset[1]
    batch = collate([first, empty], 32)
    assert batch.images.shape == (2, 64, 64, 3)
    assert batch.images.dtype == torch.uint8
    assert batch.image_sizes.tolist() == [[48, 64], [64, 48]]
    assert torch.equal(batch.images[0, :48, :64], torch.from_numpy(first.image))
    assert torch.equal(batch.images[1, :64, :48], torch.from_numpy(empty.image))
    assert batch.images[0, 48:].sum() == batch.images[1, :, 48:].sum() == 0
    assert [b.tolist() for b in batch.boxes] == [[[10, 5, 30, 25]] * 2, []]
    assert [x.tolist() for x in batch.labels] == [[0, 1], []]
    assert [tuple(m.shape) for m in batch.masks] == [(2, 48, 64), (0, 64, 48)]
    assert np.array_equal(batch.masks[0].numpy(), first.masks()[[0, 2]])
    assert [tuple(c.shape) for c in batch.crowd_boxes] == [(1, 4), (0, 4)]
    assert batch.image_ids == [10, 20]


def flat(batch: Batch) -> list[torch.Tensor]:
    lists = [batch.boxes, batch.labels, batch.masks, batch.crowd_boxes]
    return [batch.images, batch.image_sizes, *(t for each in lists for t in each)]


def same(left: Batch, right: Batch) -> bool:
    pairs = zip(flat(left), flat(right), strict=True)
    return left.image_ids == right.image_ids and all(torch.equal(a, b) for a, b in pairs)


BUSY = Augmentation(ResizeRule(0, 200), short_sides_px=(96, 128), jitter=0.2)


def epoch_of(dataset: CocoInstances, **changes: object) -> list[Batch]:
    arguments = {"batch_size": 4, "seed": 1, "epoch": 0, "workers": 0, "augmentation": BUSY}
    return list(loader(dataset, **{**arguments, **changes}))


def test_an_epoch_shows_every_picture_once_but_the_last_incomplete_batch(
    drawn: CocoInstances,
) -> None:
    ids = [i for batch in epoch_of(drawn) for i in batch.image_ids]
    assert len(ids) == len(set(ids)) == 20
    assert steps_per_epoch(drawn, 4) == 5


def test_batches_repeat_by_seed_and_epoch(drawn: CocoInstances) -> None:
    first = epoch_of(drawn)
    assert all(same(a, b) for a, b in zip(first, epoch_of(drawn), strict=True))
    assert not same(first[0], epoch_of(drawn, epoch=1)[0])
    assert not same(first[0], epoch_of(drawn, seed=2)[0])


def test_a_picture_is_augmented_anew_in_every_epoch(drawn: CocoInstances) -> None:
    shapes = {
        tuple(b.image_sizes[b.image_ids.index(3)].tolist())
        for epoch in range(6)
        for b in epoch_of(drawn, epoch=epoch)
        if 3 in b.image_ids
    }
    assert len(shapes) == 2  # both short sides turn up


def test_resuming_gives_the_batches_that_were_left(
    drawn: CocoInstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = epoch_of(drawn)
    decoded: list[int] = []
    original = CocoInstances.__getitem__

    def counted(self: CocoInstances, index: int) -> Sample:
        decoded.append(index)
        return original(self, index)

    monkeypatch.setattr(CocoInstances, "__getitem__", counted)
    rest = epoch_of(drawn, first_step=3)
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(whole[3:], rest, strict=True))
    assert len(decoded) == 8


def test_worker_processes_change_nothing(drawn: CocoInstances) -> None:
    alone, helped = epoch_of(drawn), epoch_of(drawn, workers=2)
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_shards_are_disjoint_and_as_long_as_each_other(drawn: CocoInstances) -> None:
    shards = [epoch_of(drawn, shard=(rank, 2)) for rank in range(2)]
    assert [len(s) for s in shards] == [2, 2] == [steps_per_epoch(drawn, 4, 2)] * 2
    left, right = ({i for b in shard for i in b.image_ids} for shard in shards)
    assert left.isdisjoint(right)


def test_batches_are_of_one_orientation_as_far_as_possible(drawn: CocoInstances) -> None:
    mixed = 0
    for batch in epoch_of(drawn):
        portrait = batch.image_sizes[:, 0] > batch.image_sizes[:, 1]
        mixed += bool(portrait.any() and not portrait.all())
    assert mixed <= 1


def test_fewer_pictures_than_a_batch_make_one_small_batch(drawn: CocoInstances) -> None:
    (batch,) = epoch_of(drawn, batch_size=99)
    assert len(batch.image_ids) == 23
    assert steps_per_epoch(drawn, 99) == 1


def test_samples_are_values(drawn: CocoInstances) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        drawn[0].image_id = 3  # type: ignore[misc]


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no 'train' split; found COCO layout with val"):
        CocoInstances(write(tmp_path, coco_of([box()]), "val"), "train")


def test_pictures_are_looked_at_before_the_first_is_drawn(tmp_path: Path) -> None:
    write(tmp_path, coco_of([box()]))
    cv2.imwrite(str(tmp_path / "train" / "a.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match="9x9 pixels; the annotations say 48x64"):
        CocoInstances(tmp_path, "train")
    (tmp_path / "train" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: no such picture \(1 of the 2"):
        CocoInstances(tmp_path, "train")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_reaches_the_user_as_one_sentence(tmp_path: Path, workers: int) -> None:
    dataset = CocoInstances(write(tmp_path, coco_of([box()])), "train")
    (tmp_path / "train" / "b.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"b\.png: not a whole picture") as caught:
        epoch_of(dataset, batch_size=2, workers=workers)
    assert "Traceback" not in str(caught.value)
