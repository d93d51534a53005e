"""Configs and weights as one recipe: what either says, and where they contradict each other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.detectron2.evidence import class_count
from maskrt.train.weights.import_weights import import_checkpoint

from .conftest import Arrays

Make = Callable[..., Arrays]
Save = Callable[[Arrays], Path]
Write = Callable[..., Path]

ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"


@pytest.fixture
def imported(tmp_path: Path, saved: Save, config: Write) -> Callable[..., MaskRCNNRecipe]:
    """`imported(arrays, text)`: the recipe that comes of them."""

    def imported(arrays: Arrays, text: str = "VERSION: 2\n", **words: Any) -> MaskRCNNRecipe:
        out = tmp_path / "out.safetensors"
        import_checkpoint(saved(arrays), "detectron2", out, config=config(text), **words)
        recipe = load_checkpoint(out).recipe
        assert isinstance(recipe, MaskRCNNRecipe)
        return recipe

    return imported


def cell_anchors(sizes: list[float], ratios: list[float]) -> np.ndarray[Any, Any]:
    """As Detectron2's `generate_cell_anchors` writes them."""
    anchors = []
    for size in sizes:
        area = size**2.0
        for aspect_ratio in ratios:
            w = np.sqrt(area / aspect_ratio)
            h = aspect_ratio * w
            anchors.append([-w / 2.0, -h / 2.0, w / 2.0, h / 2.0])
    return np.array(anchors, np.float32)


def test_sizes_make_the_canvas(arrays: Make, imported: Callable[..., MaskRCNNRecipe]) -> None:
    recipe = imported(arrays(), "INPUT: {MIN_SIZE_TEST: 500, MAX_SIZE_TEST: 700}\n")
    assert (recipe.input.short_side_px, recipe.input.long_side_px) == (500, 700)
    assert recipe.input.canvas_hw == (512, 704)
    low = imported(arrays(), "INPUT: {MIN_SIZE_TEST: 500, MAX_SIZE_TEST: 300}\n", overwrite=True)
    assert low.input.canvas_hw == (304, 304)
    plain = imported(arrays(), overwrite=True)
    assert plain.input.canvas_hw == (800, 1344)
    assert plain.name == "mask_rcnn_r50_c4"


def test_more_detections_than_candidates_have_as_many(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe]
) -> None:
    detections = imported(arrays(), "TEST: {DETECTIONS_PER_IMAGE: 2000}\n").detections
    assert (detections.per_image, detections.candidates) == (2000, 2000)


def test_old_files_say_means_and_anchors_themselves(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe]
) -> None:
    stored = arrays("model.anchor_sizes_px=[24, 90.5]", "model.anchor_ratios=[0.4, 1, 2.5, 3]")
    stored["pixel_mean"] = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1) + 1
    stored["pixel_std"] = np.array([57.375, 57.12, 58.395], np.float32).reshape(3, 1, 1)
    stored[ANCHORS] = cell_anchors([24, 90.5], [0.4, 1, 2.5, 3])
    recipe = imported(stored)
    assert recipe.input.mean == (104.53, 117.28, 124.675)
    assert recipe.input.std == (57.375, 57.12, 58.395)
    assert recipe.model.anchor_sizes_px == (24.0, 90.5)
    assert recipe.model.anchor_ratios == (0.4, 1.0, 2.5, 3.0)


def test_a_deeper_network_is_known_by_its_blocks(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe]
) -> None:
    stored = arrays("model.blocks=[3, 4, 23, 3]")
    recipe = imported(stored)
    assert (recipe.model.blocks, recipe.name) == ((3, 4, 23, 3), "mask_rcnn_r101_c4")
    assert recipe == imported(stored, "MODEL: {RESNETS: {DEPTH: 101}}\n", overwrite=True)
    with pytest.raises(
        InputError, match=r"model\.blocks is \(3, 8, 36, 3\); .* holds \(3, 4, 23, 3\)"
    ):
        imported(stored, "MODEL: {RESNETS: {DEPTH: 152}}\n", overwrite=True)


def test_batch_norms_counter_is_no_weight(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe]
) -> None:
    stored = arrays("model.norm=batch")
    stored["backbone.stem.conv1.norm.num_batches_tracked"] = np.array(9)
    assert imported(stored, "MODEL: {RESNETS: {NORM: BN}}\n").model.norm == "batch"


CONTRADICTIONS = {
    "mean": (
        {"pixel_mean": np.zeros((3, 1, 1), np.float32)},
        "MODEL: {PIXEL_MEAN: [1, 2, 3]}\n",
        r"config\.yaml: input\.mean is \(1\.0, 2\.0, 3\.0\); .*model_final\.pkl holds \(0\.0, 0",
    ),
    "anchors": (
        {ANCHORS: cell_anchors([32, 64, 128, 256, 512], [0.5, 1, 2])},
        "MODEL: {ANCHOR_GENERATOR: {SIZES: [[16, 32, 64, 128, 256]]}}\n",
        r"model\.anchor_sizes_px is \(16\.0, ",
    ),
    "number of anchors": (
        {},
        "MODEL: {ANCHOR_GENERATOR: {SIZES: [[16, 32]]}}\n",
        "15 anchors a cell; the settings say 2 sizes by 3 ratios",
    ),
    "number of classes": (
        {},
        "MODEL: {ROI_HEADS: {NUM_CLASSES: 4}}\n",
        r"MODEL\.ROI_HEADS\.NUM_CLASSES is 4; .* holds 3",
    ),
    "widths": ({}, "MODEL: {ROI_MASK_HEAD: {CONV_DIM: 8}}\n", r"is \(.*\); expected \(.*8.*\)"),
}


@pytest.mark.parametrize(
    ("stored", "text", "sentence"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
def test_a_config_of_other_weights_is_refused(
    arrays: Make,
    imported: Callable[..., MaskRCNNRecipe],
    tmp_path: Path,
    stored: Arrays,
    text: str,
    sentence: str,
) -> None:
    with pytest.raises(InputError, match=sentence):
        imported(arrays() | stored, text)
    assert not (tmp_path / "out.safetensors").exists()


STORED = {
    "two means": ({"pixel_mean": np.zeros(2)}, "'pixel_mean' is not 3 numbers"),
    "a mean that is none": ({"pixel_mean": np.full(3, np.nan)}, "'pixel_mean' is not 3 numbers"),
    "a text": ({"pixel_std": "one"}, "'pixel_std' is not 3 numbers"),
    "a deviation of 0": ({"pixel_std": np.zeros(3)}, r"pixel_std=\[0\.0, .*above 0"),
    "flat anchors": ({ANCHORS: np.zeros((15, 4))}, "no grid of sizes and ratios"),
    "moved anchors": ({ANCHORS: cell_anchors([9], [1]) + 1}, "no grid of sizes and ratios"),
    "uneven anchors": ({ANCHORS: cell_anchors([9, 20], [1, 2])[:3]}, "no grid of sizes"),
    "half an anchor": ({ANCHORS: np.zeros(6)}, "is not boxes in pixels"),
}


@pytest.mark.parametrize(("stored", "sentence"), STORED.values(), ids=STORED)
def test_impossible_stored_values_are_refused(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe], stored: Arrays, sentence: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=rf"model_final\.pkl: .*{sentence}"):
        imported(arrays() | stored)


def test_rows_that_take_no_memory_are_counted_before_any_is_made() -> None:
    rows = torch.zeros(1, 1).expand(1_000_001, 128)
    with pytest.raises(InputError, match=r"w\.pth: .* has 1000001 rows; expected at most 10000"):
        class_count(Path("w.pth"), {"roi_heads.box_predictor.cls_score.weight": rows})


@pytest.mark.parametrize("form", ["words", "lines", "coco"])
def test_classes_get_their_names(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe], tmp_path: Path, form: str
) -> None:
    lines, coco = tmp_path / "names.txt", tmp_path / "instances.json"
    lines.write_text("cat\nguide dog\n\ncow\n")
    image = {"id": 1, "file_name": "a.png", "height": 4, "width": 4}
    rows = [{"id": 9, "name": "cow"}, {"id": 2, "name": "cat"}, {"id": 5, "name": "guide dog"}]
    coco.write_text(json.dumps({"images": [image], "annotations": [], "categories": rows}))
    words = {"words": "cat, guide dog,cow", "lines": str(lines), "coco": str(coco)}[form]
    recipe = imported(arrays(), classes=words)
    assert recipe.class_names == ("cat", "guide dog", "cow")
    ids = load_checkpoint(tmp_path / "out.safetensors").category_ids
    assert ids == ((2, 5, 9) if form == "coco" else ())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("cat,dog", r"--classes: 2 names; .*model_final\.pkl has 3 classes"),
        ("cat,dog,cat", "expected at least one name and none twice"),
        ("cat,,dog", "names=.*; expected a list of text"),
        ("none.txt", r"none\.txt: no such file"),
        ("none.json", r"none\.json: no such file"),
    ],
)
def test_wrong_class_names_are_refused(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe], words: str, sentence: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=sentence):
        imported(arrays(), classes=words)


def test_eighty_classes_of_another_data_set_are_not_cocos(
    arrays: Make, imported: Callable[..., MaskRCNNRecipe]
) -> None:
    eighty = arrays("classes=coco")
    assert imported(eighty).class_names[0] == "person"
    own = imported(eighty, 'DATASETS: {TRAIN: ("mine",)}\n', overwrite=True)
    assert own.class_names[:2] == ("class_0", "class_1")


def test_the_header_says_where_weights_and_settings_are_from(
    arrays: Make, saved: Save, config: Write, tmp_path: Path
) -> None:
    file, settings, out = saved(arrays()), config(), tmp_path / "out.safetensors"
    report = import_checkpoint(file, "detectron2", out, config=settings, classes="a,b,c")
    assert report.endswith(
        "3 classes (yours); config.yaml sets model.stem_channels, model.backbone_channels, "
        "model.mask_channels"
    )
    checkpoint = load_checkpoint(out)
    assert checkpoint.imported is not None
    assert checkpoint.origin == "imported from model_final.pkl (Detectron2 Mask R-CNN C4)"
    assert checkpoint.imported.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert checkpoint.imported.settings == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (settings, tmp_path / "narrow.yaml")
    }


def test_a_name_that_is_no_text_is_written_as_one(
    arrays: Make, saved: Save, config: Write, tmp_path: Path
) -> None:
    file = saved(arrays()).rename(tmp_path / os.fsdecode(b"w\xff.pkl"))
    import_checkpoint(file, "detectron2", tmp_path / "out.safetensors", config=config())
    assert "imported from w?.pkl" in load_checkpoint(tmp_path / "out.safetensors").origin


def test_settings_belong_to_their_weights(
    arrays: Make, saved: Save, config: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    import_checkpoint(saved(arrays()), "detectron2", out, config=config())
    recipe = out.with_suffix(".yaml")
    recipe.write_text(recipe.read_text().replace("- 103.53\n", "- 100.0\n"))
    with pytest.raises(InputError, match=r"saved with input\.mean=\[103\.53.*do not belong"):
        load_checkpoint(out)
