"""Recipes: shipped ones load, mistakes are named, what is written back reads the same."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import ConfigError
from maskrt.train.networks.families import new_network
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.classes import COCO, SHAPES
from maskrt.train.recipes.fastmask import FastMaskConfig
from maskrt.train.recipes.recipe import (
    RECIPES,
    MaskRCNNRecipe,
    differences,
    dump_recipe,
    load_recipe,
)

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))
BASE = "lsc_mask_rcnn_tiny"
BILLION_LAUGHS = "name:\n" + "".join(
    f"  - &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(30)
)
"""Nine to the power of thirty values in 2 kB."""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_makes_a_network_and_is_dumped_whole(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(name, ["solver.lr=1e-5"])  # dumped as 1.0e-05
    assert recipe.name == name
    again = load_recipe(written(tmp_path, dump_recipe(recipe)))
    assert again.class_names == recipe.class_names
    assert dump_recipe(again) == dump_recipe(recipe)
    for part in (f.name for f in dataclasses.fields(recipe) if f.name != "classes"):
        assert getattr(again, part) == getattr(recipe, part), part
    with torch.device("meta"):
        model = new_network(recipe)
    if isinstance(model, FastMask):
        assert all(side % 4 == 0 for side in recipe.input.canvas_hw)
    else:
        assert all(side % 16 == 0 for side in recipe.input.canvas_hw)
        assert model.box_predictor.cls_score.out_features == len(recipe.class_names) + 1


def test_the_promised_recipes_are_shipped() -> None:
    detectors = {"mask_rcnn_r50_c4", "lsc_mask_rcnn_r50_512", "lsc_mask_rcnn_r50_1024", BASE}
    one_shot = {"fastmask_r39", "fastmask_r39_one_stream", "fastmask_vgg16", "fastmask_pva"}
    pyramids = {"mask_rcnn_r50_fpn", "mask_rcnn_r101_fpn", "faster_rcnn_r50_fpn"}
    tiny = {"mask_rcnn_tiny", "mask_rcnn_fpn_tiny", "fastmask_tiny", "deepmask_tiny"}
    nano = {"mask_rcnn_nano", "lsc_mask_rcnn_nano", "fastmask_nano"}
    assert detectors | one_shot | pyramids | tiny | nano | {"deepmask_r39"} == set(SHIPPED)


def test_a_pyramid_has_four_stages_and_an_anchor_size_of_each_level() -> None:
    with pytest.raises(ConfigError, match="expected 5, one size of each level"):
        load_recipe("mask_rcnn_r50_fpn", ["model.anchor_sizes_px=[32.0, 64.0]"])
    with pytest.raises(ConfigError, match="expected four counts"):
        load_recipe("mask_rcnn_r50_fpn", ["model.blocks=[3, 4, 6]"])


def test_one_stream_has_the_first_ones_strides_of_the_recipe() -> None:
    for name, streams in (("fastmask_tiny", 1), ("fastmask_r39", 1), ("fastmask_r39", 2)):
        model = load_recipe(name, [f"model.streams={streams}"]).model
        second = {24.0, 48.0, 96.0} if streams == 2 else set()
        assert isinstance(model, FastMaskConfig)
        assert set(model.train_strides) == {16.0, 32.0, 64.0, 128.0} | second
        assert set(model.test_strides) - set(model.train_strides) == ({192.0} if second else set())
    pyramid = ["model.pyramid=image", "model.head=standard", "model.streams=1"]
    assert load_recipe("fastmask_r39", pyramid).model == load_recipe("deepmask_r39").model


def test_a_family_nobody_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="family='yolo'; expected one of mask_rcnn, mask_rcnn_fpn, fastmask"
    ):
        load_recipe(written(tmp_path, "name: mine\nfamily: yolo"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.test_strides=[16, 40]", r"model.test_strides=\['16', '40'\]: expected rising"),
        ("model.train_strides=[32, 16]", "model.train_strides"),
        ("model.train_strides=[]", "model.train_strides"),
        ("model.pyramid=image", "Set model.streams=1 model.head=standard"),
        ("model.test_strides=[16, 768]", "expected rising strides out of 16, 24, .*, 384"),
        ("model.neck=sum", "model.neck='sum'; expected 'residual' or 'forward'"),
        ("model.nek=max", r"unknown key 'model\.nek'.*Did you mean 'model\.neck'\?"),
        ("windows.mask_bach=3", r"unknown key 'windows\.mask_bach'"),
        ("classes=coco", "unknown key 'classes'"),
        ("model.blocks=[1, 2]", "expected three counts"),
        ("model.streams=3", "model.streams=3; expected 1 or 2"),
        ("windows.scale_range=[0.8, 0.4]", "expected 0 < low < high <= 1"),
        ("windows.hard_share=2", "windows.hard_share"),
        ("windows.per_image=4000", "expected a whole number from 1 to 3840"),
        ("windows.mask_batch=0", "windows.mask_batch=0"),
        ("detections.per_image=5", "unknown key 'detections'"),
    ],
)
def test_fastmask_settings_nobody_can_build_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("fastmask_r39", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.streams=2", "found model.streams=2 and model.head=standard"),
        ("model.head=attentional", "found model.streams=1 and model.head=attentional"),
        ("model.compat=original", "has no image pyramid. Set model.compat=paper"),
        ("model.train_strides=[8]", "expected rising strides out of 16 to 384"),
        ("model.test_strides=[16, 400]", "expected rising strides out of 16 to 384"),
    ],
)
def test_an_image_pyramid_has_one_plain_stream(override: str, message: str) -> None:
    assert load_recipe("deepmask_r39", ["model.test_strides=[16, 22.6]"]).model.neck == "residual"
    with pytest.raises(ConfigError, match=message):
        load_recipe("deepmask_r39", [override])


def test_the_frameworks_differ_as_in_the_paper() -> None:
    one, two = load_recipe("lsc_mask_rcnn_r50_512"), load_recipe("lsc_mask_rcnn_r50_1024")
    assert (one.model.separable_channels, one.model.separable_kernel) == (256, 15)
    assert (one.model.subnet_mid_channels, one.model.subnet_channels) == (256, 512)
    assert (two.model.subnet_mid_channels, two.model.subnet_channels) == (256, 1024)


def test_class_lists_are_resolved() -> None:
    assert len(COCO) == 80
    assert load_recipe("mask_rcnn_r50_c4").class_names == COCO
    assert load_recipe(BASE).class_names == SHAPES
    for words in ("[cat, dog]", "cat,dog", "cat, dog,", '["cat", "dog"]'):
        assert load_recipe(BASE, [f"classes={words}"]).class_names == ("cat", "dog")
    assert load_recipe(BASE, ["classes=no,1"]).class_names == ("no", "1")
    assert load_recipe(BASE, ["classes=cat,"]).class_names == ("cat",)


def test_overrides_replace_values() -> None:
    recipe = load_recipe(
        BASE,
        ["solver.lr=0.5", "solver.steps=7", "model.stride_in_1x1=true", "input.canvas_hw=[64, 96]"],
    )
    assert (recipe.solver.lr, recipe.solver.steps) == (0.5, 7)
    assert recipe.model.stride_in_1x1 is True
    assert recipe.input.canvas_hw == (64, 96)


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2", 2.0), ("1.5e+2", 150.0)])
def test_numbers_may_be_written_in_any_way(text: str, value: float) -> None:
    assert load_recipe(BASE, [f"solver.lr={text}"]).solver.lr == value


def test_the_last_override_wins() -> None:
    assert load_recipe(BASE, ["solver.steps=7", "solver.steps=9"]).solver.steps == 9


def test_an_override_makes_a_section_the_file_leaves_out(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "name: mine"), ["solver.lr=0.5"])
    assert recipe.solver.lr == 0.5
    assert recipe.model == MaskRCNNRecipe("mine").model


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("solver.learning_rat=1", "unknown key 'solver.learning_rat'"),
        ("solver.step=3", r"unknown key 'solver\.step'.*Did you mean 'solver\.steps'\?"),
        ("modle.pooling=7", r"unknown key 'modle'.*Did you mean 'model'\?"),
        ("model.zzz=7", r"Known: mask, stem_channels"),
        ("solver.steps=1.5", r"solver\.steps=1\.5; expected a whole number"),
        ("solver.steps=true", r"solver\.steps=True; expected a whole number"),
        ("solver.lr=fast", r"solver\.lr='fast'; expected a number"),
        ("solver.lr=", r"solver\.lr=None; expected a number"),
        ("solver.lr=.nan", r"solver\.lr=nan; expected a number"),
        ("model.stride_in_1x1=1", r"stride_in_1x1=1; expected true or false"),
        ("model.blocks=3", r"model\.blocks=3; expected a list of a whole number"),
        ("input.canvas_hw=[384]", r"canvas_hw=\[384\]; expected a list of 2, each a whole number"),
        ("input.mean=[1.0, 2.0]", r"mean=\[1\.0, 2\.0\]; expected a list of 3, each a number"),
        ("solver.schedule=linear", r"schedule='linear'; expected 'step' or 'cosine'"),
        ("classes=cocoa", r"expected 'coco' or 'shapes', or a list as in classes=a,b,c"),
        ("classes=cat,,dog", r"classes=\['cat', '', 'dog'\]; expected a list of text"),
        ("classes=[]", "at least one name"),
        ("classes=[cat, cat]", "none twice"),
        ("model=3", "'model' is 3; expected a section"),
        ("name.first=a", "'name' is a value, not a section"),
        ("solver.lr", "not an override; expected key=value"),
        ("=3", "not an override; expected key=value"),
        ("classes=[cat", "not valid YAML"),
        ("model.pooling=5", r"does not divide model\.roi_size=14"),
        ("model.pooling=0", r"model\.pooling=0; expected a whole number from 1 to 64"),
        ("model.separable_kernel=14", "must be odd"),
        ("model.blocks=[3, 4, 6]", "four counts"),
        ("model.sampling_ratio=-1", "expected a whole number from 0 to 16"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(BASE, [override])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("solver.steps=-1", "a whole number from 1 to 1000000000"),
        ("solver.batch=0", "a whole number from 1 to 65536"),
        ("solver.lr=-1", "a number of at least 0"),
        ("solver.momentum=5", "a number from 0 to below 1"),
        ("solver.ema_decay=2", "a number from 0 to below 1"),
        ("solver.seed=-1", "a whole number of at least 0"),
        ("solver.checkpoint_every=0", "a whole number from 1"),
        ("solver.clip_norm=-1", "a number of at least 0"),
        ("solver.milestones=[10, 0]", "a list of a whole number from 1"),
        ("model.stem_channels=0", "a whole number from 1 to 4096"),
        ("model.stem_channels=-4", "a whole number from 1 to 4096"),
        ("model.separable_kernel=-3", "a whole number from 1 to 63"),
        ("model.roi_size=0", "a whole number from 1 to 64"),
        ("model.backbone_channels=3", "a whole number from 4 to 4096, a multiple of 4"),
        ("model.backbone_channels=6", "a whole number from 4 to 4096, a multiple of 4"),
        ("model.mask_channels=0", "a whole number from 1 to 4096"),
        ("model.freeze_at=99", "a whole number from 0 to 4"),
        ("model.anchor_sizes_px=[]", "a list of a number above 0 with at least 1 of them"),
        ("model.anchor_sizes_px=[-5]", "a list of a number above 0 with at least 1 of them"),
        ("model.anchor_ratios=[0]", "a list of a number above 0 with at least 1 of them"),
        (f"model.blocks=[1, 1, 1, {2**70}]", "a list of a whole number from 1 to 100"),
        ("input.long_side_px=0", "a whole number from 1 to 16384"),
        ("input.multiple_px=0", "a whole number from 1 to 1024"),
        ("input.train_short_sides_px=[]", "with at least 1 of them"),
        ("input.std=[1, 0, 1]", "a list of 3, each a number above 0"),
        ("detections.nms_iou=-1", "a number from 0 to 1"),
        ("detections.positive_fraction=7", "a number from 0 to 1"),
        ("detections.score_threshold=2", "a number from 0 to 1"),
        ("detections.per_image=0", "a whole number from 1"),
        ("name=", "expected text"),
        ('name="a\\ud800"', "expected text"),
    ],
)
def test_values_out_of_their_range_are_refused(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        load_recipe(BASE, [override])
    assert f"{override.partition('=')[0]}=" in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("mask_rcnn_r50_c4", "model.roi_size=7", "subnet c5 halves it"),
        (BASE, "proposals.negative_iou=0.9", r"at most proposals\.positive_iou=0\.7"),
        ("fastmask_pva", "model.stem_channels=33", "expected an even number"),
        ("fastmask_r39", "input.train_long_side_px=[900, 800]", "the shorter one first"),
        ("fastmask_r39", "model.streams=true", "model.streams=True; expected 1 or 2"),
    ],
)
def test_values_that_exclude_each_other_are_refused(
    recipe: str, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [override])


def test_differences_are_told_by_key() -> None:
    before = load_recipe(BASE)
    after = load_recipe(BASE, ["solver.lr=0.5", "input.canvas_hw=[64, 96]"])
    assert differences(before, before) == []
    assert differences(before, after) == [
        ("input.canvas_hw", [480, 480], [64, 96]),
        ("solver.lr", 0.04, 0.5),
    ]
    other = {key for key, _, _ in differences(before, load_recipe("fastmask_tiny"))}
    assert {"family", "classes", "proposals.nms_iou", "model.neck"} <= other


def test_an_unknown_recipe_offers_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean lsc_mask_rcnn_tiny\?"):
        load_recipe("lsc_mask_rcnn_tny")
    with pytest.raises(ConfigError, match="Known: deepmask_r39, "):
        load_recipe("yolo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- name", "holds no mapping"),
        ("", "holds no mapping"),
        ("family: mask_rcnn", "the recipe lacks a key .*name"),
        ("name: a\nsolver:", "'solver' is None; expected a section"),
        ("name: a\n3: 4", "unknown key '3'"),
        ("name: a\nsolver: {lr: !!timestamp 2001}", "not valid YAML"),
        ("name: a\nsolver: {steps: !!int ''}", "not valid YAML"),
        ("name: a\nsolver: {steps: 2001-99-99}", "not valid YAML"),
        ("name: a\n? [a, {}]\n: 1", "not valid YAML"),
        ("name: a\nfamily: {}", "family={}; expected one of mask_rcnn, mask_rcnn_fpn, fastmask"),
        ("name: " + "[" * 20000, "not valid YAML"),
        ("name: " + "a" * 300000, "300006 bytes; expected a recipe of at most 262144"),
        (BILLION_LAUGHS, r"name=\[\[.*; expected text"),
    ],
)
def test_a_broken_file_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_recipe(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe or YAML file"):
        load_recipe(tmp_path / "recipe.yaml")


def test_keys_that_came_later_are_written_where_they_are_set() -> None:
    plain = load_recipe(BASE)
    assert "eval_every" not in dump_recipe(plain)
    watched = load_recipe(BASE, ["solver.eval_every=50", "solver.patience=3"])
    assert dump_recipe(watched).endswith("  seed: 0\n  eval_every: 50\n  patience: 3\n")
    assert differences(plain, watched)[0] == ("solver.eval_every", None, 50)
    with pytest.raises(ConfigError, match=r"solver\.patience=3: counts evaluations"):
        load_recipe(BASE, ["solver.patience=3"])
