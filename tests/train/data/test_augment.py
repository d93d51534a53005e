"""Scale jitter and copy-paste as the loader and the recipes have them."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrt.runtime.contract import ResizeRule
from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.data.augment import Augmentation, augment
from maskrt.train.data.batches import Batch, collate, loader
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.data.epochs import endless_batches
from maskrt.train.recipes.recipe import dump_recipe, load_recipe
from maskrt.train.run_state import new_run
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.step import LossModule, one_step

from .samples import as_run_lengths, box_of, sample_of, square

BOTH = Augmentation(
    ResizeRule(0, 200), short_sides_px=(96, 128), jitter=0.2, scale_jitter=(0.1, 2), copy_paste=0.5
)
KEYS = ("input.scale_jitter=[0.1, 2.0]", "input.copy_paste=0.5")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> CocoInstances:
    out = tmp_path_factory.mktemp("data") / "shapes"
    return CocoInstances(draw_shapes(out, 12, 2, seed=5, progress=False), "train")


def flat(batch: Batch) -> list[torch.Tensor]:
    lists = [batch.boxes, batch.labels, batch.masks, batch.crowd_boxes]
    return [batch.images, batch.image_sizes, *(t for each in lists for t in each)]


def same(left: Batch, right: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flat(left), flat(right), strict=True))


def epoch_of(dataset: CocoInstances, **changes: object) -> list[Batch]:
    arguments = {"batch_size": 3, "seed": 1, "epoch": 0, "workers": 0, "augmentation": BOTH}
    return list(loader(dataset, **{**arguments, **changes}))


def test_batches_repeat_whatever_the_workers_and_the_first_step(drawn: CocoInstances) -> None:
    alone = epoch_of(drawn)
    for helped in (epoch_of(drawn, workers=2), epoch_of(drawn)):
        assert all(same(a, b) for a, b in zip(alone, helped, strict=True))
    rest = epoch_of(drawn, first_step=2)
    assert all(same(a, b) for a, b in zip(alone[2:], rest, strict=True))
    assert not same(alone[0], epoch_of(drawn, epoch=1)[0])


def test_every_instance_has_pixels_and_all_in_its_box(drawn: CocoInstances) -> None:
    """Drawn masks are polygons and run lengths; boxes of whole ones are between pixels."""
    seen = 0
    for epoch in range(3):
        for batch in epoch_of(drawn, epoch=epoch):
            for boxes, masks in zip(batch.boxes, batch.masks, strict=True):
                for box, mask in zip(boxes.numpy(), masks.numpy(), strict=True):
                    beyond = (box - box_of(mask)) * [1, 1, -1, -1]
                    assert beyond.max() <= 1
                    seen += 1
    assert seen > 100


def test_pictures_keep_room_for_what_they_were_without_jitter(drawn: CocoInstances) -> None:
    plain = Augmentation(ResizeRule(0, 160), flip=0.0)
    for factor in (0.1, 0.5, 1.0, 1.9):
        jittered = Augmentation(ResizeRule(0, 160), flip=0.0, scale_jitter=(factor, factor))
        before = augment(drawn[0], plain, np.random.default_rng(0))
        after = augment(drawn[0], jittered, np.random.default_rng(0))
        expected = np.minimum(
            np.round(np.array(before.image.shape[:2]) * factor), before.image.shape[:2]
        )
        assert np.abs(after.image.shape[:2] - expected).max() <= 1
        assert collate([after], 32).images.shape == collate([before], 32).images.shape


def test_a_factor_of_one_changes_nothing(drawn: CocoInstances) -> None:
    for index in range(4):
        before = augment(drawn[index], Augmentation(ResizeRule(0, 160)), np.random.default_rng(3))
        one = Augmentation(ResizeRule(0, 160), scale_jitter=(1.0, 1.0))
        after = augment(drawn[index], one, np.random.default_rng(3))
        assert np.array_equal(before.image, after.image)
        assert np.array_equal(before.masks(), after.masks())
        np.testing.assert_allclose(before.boxes, after.boxes, atol=1e-4)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.75])
def test_polygons_and_run_lengths_give_the_same_masks(factor: float) -> None:
    """Of squares on even pixels, which neither has to round at these factors."""
    polygons = sample_of([square(8, 4, 24), square(40, 20, 16), square(0, 32, 8)], (48, 64))
    jittered = Augmentation(ResizeRule(0, 64), scale_jitter=(factor, factor))
    for seed in range(6):
        left, right = (
            augment(sample, jittered, np.random.default_rng(seed))
            for sample in (polygons, as_run_lengths(polygons))
        )
        assert np.array_equal(left.labels, right.labels)
        assert np.array_equal(left.masks(), right.masks())
        assert np.array_equal(left.boxes, right.boxes)


def test_larger_ones_are_cropped_anywhere() -> None:
    """The picture says its own place: red counts columns, green rows."""
    sample = sample_of([], (50, 80))
    sample.image[..., 0], sample.image[..., 1] = np.arange(80), np.arange(50)[:, None]
    twice = Augmentation(ResizeRule(0, 80), flip=0.0, scale_jitter=(2.0, 2.0))
    seen = [augment(sample, twice, np.random.default_rng(seed)).image for seed in range(150)]
    assert {image.shape for image in seen} == {(50, 80, 3)}
    corners = np.array([image[0, 0, :2] for image in seen])
    assert corners.min(axis=0).tolist() == [0, 0]
    assert np.abs(corners.max(axis=0) - [40, 25]).max() <= 1
    assert all(abs(int(image[0, -1, 0]) - int(image[0, 0, 0]) - 39.5) <= 1 for image in seen)


def test_instances_too_small_for_a_pixel_go() -> None:
    """A tenth of 30, of 8, of 30 by 8, and of a needle between the centres of pixels."""
    needle = [[300, 300, 302, 300, 390, 390]]
    squares = [square(10, 10, 30), square(103, 103, 8), square(200, 200, 30, 8)]
    sample = sample_of([*squares, needle], (400, 400))
    tenth = Augmentation(ResizeRule(0, 400), flip=0.0, scale_jitter=(0.1, 0.1))
    assert augment(sample, tenth, np.random.default_rng(0)).labels.tolist() == [0]


def test_objects_of_another_picture_are_added_at_their_size(drawn: CocoInstances) -> None:
    always = Augmentation(ResizeRule(0, 160), copy_paste=1.0)
    alone = [augment(drawn[i], always, np.random.default_rng(i)) for i in range(len(drawn))]
    areas = np.concatenate([sample.masks().sum(axis=(1, 2)) for sample in alone])
    more = 0
    for index, before in enumerate(alone):
        both = augment(drawn[index], always, np.random.default_rng(index), drawn)
        assert both.image_id == drawn[index].image_id
        assert both.image.shape == before.image.shape
        changed = (both.image != before.image).any(axis=2)
        assert not (changed & ~both.masks().any(axis=0)).any()
        assert both.masks().sum(axis=(1, 2)).max() <= areas.max() + 3
        more += len(both.labels) > len(before.labels)
    assert more > len(drawn) // 2


def test_copy_paste_is_a_share_of_the_pictures(drawn: CocoInstances) -> None:
    some = Augmentation(ResizeRule(0, 64), copy_paste=0.3)
    sample = augment(drawn[0], some, np.random.default_rng(0))
    kept = [
        augment(sample, some, np.random.default_rng(seed), drawn).segmentations
        == augment(sample, some, np.random.default_rng(seed)).segmentations
        for seed in range(100)
    ]
    assert 0.55 <= np.mean(kept) <= 0.85


def test_a_broken_other_picture_is_one_sentence(tmp_path: Path) -> None:
    folder = draw_shapes(tmp_path / "shapes", 2, 1, seed=5, progress=False)
    dataset = CocoInstances(folder, "train")
    always = Augmentation(ResizeRule(0, 64), copy_paste=1.0)
    sample = dataset[0]
    for picture in (folder / "train").iterdir():
        picture.write_bytes(b"not a picture")
    with pytest.raises(InputError, match="not a whole picture"):
        augment(sample, always, np.random.default_rng(0), dataset)


def test_a_recipe_asks_for_both_and_one_without_is_written_as_before() -> None:
    plain = dump_recipe(load_recipe("fastmask_tiny"))
    assert "scale_jitter" not in plain
    assert "copy_paste" not in plain
    asked = dump_recipe(load_recipe("fastmask_tiny", KEYS))
    assert asked.replace("  scale_jitter:\n  - 0.1\n  - 2.0\n  copy_paste: 0.5\n", "") == plain


@pytest.mark.parametrize("name", ["lsc_mask_rcnn_tiny", "fastmask_tiny"])
@pytest.mark.parametrize("value", ["[2.0, 0.1]", "[0.1]", "[0, 2]", "[0.1, 5]", "0.5"])
def test_a_range_of_factors_is_checked(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"input\.scale_jitter=.*expected"):
        load_recipe(name, [f"input.scale_jitter={value}"])


@pytest.mark.parametrize("family", ["mask_rcnn", "mask_rcnn_fpn", "fastmask"])
def test_every_family_steps_on_the_smallest_pictures(
    family: str,
    shapes_folder: Path,
    tiny: Callable,
    pyramid: Callable,
    proposer: Callable,
) -> None:
    """At a tenth of 96 px, one to a batch, where a batch norm would have one cell."""
    keys = ["input.scale_jitter=[0.1, 0.1]", "input.copy_paste=1.0", "solver.batch=1"]
    recipes = {
        "mask_rcnn": lambda: tiny(*keys),
        "mask_rcnn_fpn": lambda: pyramid(*keys),
        "fastmask": lambda: proposer("fastmask_tiny", *keys),
    }
    recipe = recipes[family]()
    run = new_run(recipe, torch.device("cpu"))
    batches = endless_batches(CocoInstances(shapes_folder, "train"), recipe, 0, 0, (0, 1))
    for batch in islice(batches, 3):
        assert batch.image_sizes.max() <= 10
        one_step(run, LossModule(run.model), batch, recipe.solver, 0)
