"""Published weights to checkpoints: every tensor lands where its owner's network has it.

The sources are made here: our own network's tensors under the names that reference tables of
Detectron2, torchvision and Caffe2 give them, spelled out below instead of taken from
the module under test.
"""

import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.recipe import MaskRCNNRecipe, load_recipe
from maskrt.train.weights import import_weights
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint
from maskrt.train.weights.import_weights import import_checkpoint
from maskrt.train.weights.tensors import load_tensors, save_tensors
from maskrt.train.weights.torchvision_layout import TORCHVISION

# ResNet-50's blocks, so that every name exists, at a sixteenth of its width.
NARROW = """
name: narrow
classes: [a, b, c]
model:
  stem_channels: 4
  backbone_channels: 16
  mask_channels: 4
"""
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
# The zoo's 5 sizes by 3 ratios as (-w/2, -h/2, w/2, h/2), stored until 2020.
CELL_ANCHORS = np.array(
    [
        (
            -size / ratio**0.5 / 2,
            -size * ratio**0.5 / 2,
            size / ratio**0.5 / 2,
            size * ratio**0.5 / 2,
        )
        for size in (32, 64, 128, 256, 512)
        for ratio in (0.5, 1, 2)
    ],
    np.float32,
)
STATISTICS = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MaskRCNNRecipe:
    """`import_checkpoint` converts to this recipe instead of the full-size one."""
    path = tmp_path / "narrow.yaml"
    path.write_text(NARROW)
    monkeypatch.setattr(import_weights, "RECIPE", str(path))
    return load_recipe(path)


def trained(recipe: MaskRCNNRecipe) -> dict[str, Tensor]:
    """A state dict with no two equal tensors, as after training."""
    generator = torch.Generator().manual_seed(5)
    state = MaskRCNN(recipe).state_dict()
    return {k: torch.rand(v.shape, generator=generator) - 0.5 for k, v in state.items()}


def ours_of(stage: int) -> str:
    return "subnet.res5" if stage == 5 else f"backbone.res{stage}"


def convolutions() -> Iterator[tuple[int, int, str]]:
    """(stage, block, convolution) of ResNet-50."""
    for stage, blocks in BLOCKS.items():
        yield stage, 0, "shortcut"
        yield from ((stage, i, f"conv{n}") for i in range(blocks) for n in (1, 2, 3))


def detectron2_of(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    rename = {
        r"^rpn\.": "proposal_generator.rpn_head.",
        r"^subnet\.res5\.": "roi_heads.res5.",
        r"^(box_predictor|mask_head)\.": r"roi_heads.\1.",
    }
    arrays = {}
    for name, tensor in state.items():
        for pattern, theirs in rename.items():
            name = re.sub(pattern, theirs, name)  # noqa: PLW2901
        arrays[name] = tensor.numpy()
    arrays["proposal_generator.anchor_generator.cell_anchors.0"] = CELL_ANCHORS
    return arrays


def torchvision_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {"conv1.weight": state["backbone.stem.conv1.weight"]}
    named |= {f"bn1.{s}": state[f"backbone.stem.conv1.norm.{s}"] for s in STATISTICS}
    named["bn1.num_batches_tracked"] = torch.tensor(9)
    for stage, block, conv in convolutions():
        theirs, ours = f"layer{stage - 1}.{block}", f"{ours_of(stage)}.{block}.{conv}"
        n = conv[-1]
        weight, norm = ("downsample.0", "downsample.1") if n == "t" else (conv, f"bn{n}")
        named[f"{theirs}.{weight}.weight"] = state[f"{ours}.weight"]
        named |= {f"{theirs}.{norm}.{s}": state[f"{ours}.norm.{s}"] for s in STATISTICS}
        named[f"{theirs}.{norm}.num_batches_tracked"] = torch.tensor(9)
    return named | {"fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}


def caffe2_of(
    state: dict[str, Tensor], leaves: tuple[str, ...] = ("gamma", "beta", *STATISTICS[2:])
) -> dict[str, np.ndarray]:
    tensors = {"conv1_w": state["backbone.stem.conv1.weight"]}
    norms = {"res_conv1_bn": "backbone.stem.conv1"}
    for stage, block, conv in convolutions():
        branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[conv]
        theirs, ours = f"res{stage}_{block}_branch{branch}", f"{ours_of(stage)}.{block}.{conv}"
        tensors[f"{theirs}_w"] = state[f"{ours}.weight"]
        norms[f"{theirs}_bn"] = ours
    for theirs, ours in norms.items():
        for leaf, ours_leaf in zip(leaves, STATISTICS, strict=False):
            tensors[f"{theirs}_{leaf}"] = state[f"{ours}.norm.{ours_leaf}"]
    extra = {"conv1_b": torch.zeros(4), "fc1000_w": torch.zeros(10, 8), "fc1000_b": torch.zeros(10)}
    return {k: v.numpy() for k, v in (tensors | extra).items()}


def pickled(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def zoo(path: Path, arrays: dict[str, Any]) -> Path:
    return pickled(path, {"model": arrays, "__author__": "Detectron2 Model Zoo"})


def backbone_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k.startswith(("backbone.", "subnet."))}


def assert_holds(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert expected
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_every_tensor_of_a_zoo_file_lands_in_its_place(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    state = trained(narrow)
    file = zoo(tmp_path / "model_final.pkl", detectron2_of(state))
    report = import_checkpoint(file, "detectron2", tmp_path / "out" / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "out" / "m.safetensors")
    assert loaded.model.state_dict().keys() == state.keys()
    assert_holds(loaded.model.state_dict(), state)
    assert report.startswith("279 tensors, ")
    assert loaded.recipe.model.sampling_ratio == 0  # as Detectron2 samples
    assert "\n" not in report


def test_class_names_are_numbered_where_the_file_has_none(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    file = zoo(tmp_path / "w.pkl", detectron2_of(trained(narrow)))
    report = import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")
    recipe = load_checkpoint(tmp_path / "m.safetensors").recipe
    assert recipe.class_names == ("class_0", "class_1", "class_2")
    assert "3 classes (numbered: --classes names them); settings of the zoo's R50-C4" in report


@pytest.mark.parametrize("form", ["with optimizer", "bare", "ddp", "ddp in a wrapper"])
def test_files_of_a_training_run_are_read_too(
    tmp_path: Path, narrow: MaskRCNNRecipe, form: str
) -> None:
    state = trained(narrow)
    model = {k: torch.from_numpy(v) for k, v in detectron2_of(state).items()}
    model |= {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    run = {
        "model": model,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.02}]},
        "iteration": 9,
    }
    parallel = {f"module.{name}": value for name, value in model.items()}
    forms = {"with optimizer": run, "bare": model, "ddp": parallel}
    forms["ddp in a wrapper"] = {"model": {"state_dict": parallel}, "epoch": 3}
    torch.save(forms[form], tmp_path / "model_0000009.pth")
    import_checkpoint(tmp_path / "model_0000009.pth", "detectron2", tmp_path / "m.safetensors")
    assert_holds(load_checkpoint(tmp_path / "m.safetensors").model.state_dict(), state)


def test_half_and_double_precision_become_float32(tmp_path: Path, narrow: MaskRCNNRecipe) -> None:
    state = trained(narrow)
    arrays = detectron2_of(state)
    arrays["backbone.stem.conv1.weight"] = arrays["backbone.stem.conv1.weight"].astype(np.float64)
    arrays["roi_heads.mask_head.deconv.bias"] = np.full(4, 0.5, np.float16)
    import_checkpoint(zoo(tmp_path / "w.pkl", arrays), "detectron2", tmp_path / "m.safetensors")
    found = load_checkpoint(tmp_path / "m.safetensors").model.state_dict()
    assert torch.equal(found["backbone.stem.conv1.weight"], state["backbone.stem.conv1.weight"])
    assert found["mask_head.deconv.bias"].tolist() == [0.5] * 4


def test_early_files_without_statistics_get_zero_and_one(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    arrays = {k: v for k, v in detectron2_of(trained(narrow)).items() if "running_" not in k}
    import_checkpoint(zoo(tmp_path / "w.pkl", arrays), "detectron2", tmp_path / "m.safetensors")
    norm = load_checkpoint(tmp_path / "m.safetensors").model.backbone.res2[0].conv1.norm
    assert norm.running_mean.tolist() == [0] * 4
    assert norm.running_var.tolist() == [1] * 4


def test_torchvision_weights_bring_backbone_res5_strides_and_colours(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    state = trained(narrow)
    torch.save(torchvision_of(state), tmp_path / "resnet50.pth")
    report = import_checkpoint(tmp_path / "resnet50.pth", "torchvision", tmp_path / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert_holds(loaded.model.state_dict(), backbone_of(state))
    assert report.startswith("265 tensors, ")
    assert "--weights with model.stride_in_1x1=false input.channel_order=RGB" in report
    assert not loaded.recipe.model.stride_in_1x1
    assert loaded.recipe.input.channel_order == "RGB"
    assert loaded.recipe.input.mean == (123.675, 116.28, 103.53)
    assert loaded.recipe.input.std == (58.395, 57.12, 57.375)


def test_untrained_heads_are_those_of_the_recipes_seed(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    torch.save(torchvision_of(trained(narrow)), tmp_path / "resnet50.pth")
    import_checkpoint(tmp_path / "resnet50.pth", "torchvision", tmp_path / "m.safetensors")
    new_checkpoint(narrow, tmp_path / "new.safetensors")
    found, new = (
        load_checkpoint(tmp_path / f"{name}.safetensors").model.state_dict()
        for name in ("m", "new")
    )
    heads = {k: v for k, v in new.items() if not k.startswith(("backbone.", "subnet."))}
    assert_holds(found, heads)


def test_a_new_network_takes_over_the_imported_backbone(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    state = trained(narrow)
    torch.save(torchvision_of(state), tmp_path / "resnet50.pth")
    import_checkpoint(tmp_path / "resnet50.pth", "torchvision", tmp_path / "m.safetensors")
    light = ["model.subnet=light", "model.separable_channels=8"]
    weights, new = tmp_path / "m.safetensors", tmp_path / "new.safetensors"
    with pytest.raises(ConfigError, match="Add to the command: ") as caught:
        new_checkpoint(load_recipe(import_weights.RECIPE, light), new, weights)
    words = str(caught.value).partition("Add to the command: ")[2].removesuffix(".").split()
    assert words == [*TORCHVISION.overrides[1:], TORCHVISION.overrides[0]]
    new_checkpoint(load_recipe(import_weights.RECIPE, [*light, *words]), new, weights)
    found = load_checkpoint(tmp_path / "new.safetensors").model.state_dict()
    assert_holds(found, {k: v for k, v in state.items() if k.startswith("backbone.")})


@pytest.mark.parametrize("wrap", [dict, lambda flat: {"blobs": flat}], ids=["flat", "blobs"])
def test_caffe2_names_are_recognized(
    tmp_path: Path, narrow: MaskRCNNRecipe, wrap: Callable[[dict], dict]
) -> None:
    state = trained(narrow)
    file = pickled(
        tmp_path / "R-50.pkl", wrap(caffe2_of(state) | {"conv1_w_momentum": np.zeros(1)})
    )
    report = import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert_holds(loaded.model.state_dict(), backbone_of(state))
    assert report.startswith("265 tensors, ")
    assert loaded.recipe.model.stride_in_1x1
    assert loaded.recipe.input.channel_order == "BGR"


@pytest.mark.parametrize(
    "leaves", [("s", "b", "rm", "riv"), ("s", "b")], ids=["all", "affine only"]
)
def test_caffe2_short_norm_names_are_recognized(
    tmp_path: Path, narrow: MaskRCNNRecipe, leaves: tuple[str, ...]
) -> None:
    state = trained(narrow)
    file = pickled(tmp_path / "R-50.pkl", caffe2_of(state, leaves))
    import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")
    expected = backbone_of(state)
    if len(leaves) == 2:
        expected |= {
            k: torch.zeros_like(v) for k, v in expected.items() if k.endswith("running_mean")
        }
        expected |= {
            k: torch.ones_like(v) for k, v in expected.items() if k.endswith("running_var")
        }
    assert_holds(load_checkpoint(tmp_path / "m.safetensors").model.state_dict(), expected)


STEM = "backbone.stem.conv1.weight"
MALICIOUS = type("Malicious", (), {"__reduce__": lambda _: (os.system, ("touch pwned",))})

BAD = {
    "missing": (lambda a: a.pop(STEM), rf"1 tensors missing \({STEM}\)"),
    "one statistic missing": (
        lambda a: a.pop("roi_heads.res5.0.conv1.norm.running_var"),
        r"1 tensors missing \(roi_heads\.res5\.0\.conv1\.norm\.running_var\)",
    ),
    "unknown": (
        lambda a: a.update({f"backbone.res4.6.conv{n}.weight": np.zeros(1) for n in range(4)}),
        r"4 tensors unknown \(backbone\.res4\.6\.conv0\.weight, .*, \.\.\.\)",
    ),
    "shape": (
        lambda a: a.update({STEM: np.zeros((4, 3, 3, 3), np.float32)}),
        r"is \(4, 3, 3, 3\); expected \(4, 3, 7, 7\)",
    ),
    "scalar class scores": (
        lambda a: a.update({"roi_heads.box_predictor.cls_score.weight": np.array(0, np.float32)}),
        r"cls_score\.weight' is \(\); expected \(81, 128\)",
    ),
    "NaN": (lambda a: a.update({STEM: np.full((4, 3, 7, 7), np.nan)}), "NaN or infinite"),
    "too large for float32": (lambda a: a.update({STEM: np.full((4, 3, 7, 7), 1e300)}), "infinite"),
    "whole numbers": (lambda a: a.update({STEM: np.zeros((4, 3, 7, 7), int)}), "is int64"),
    "text": (lambda a: a.update({STEM: "weights"}), "is str; expected floats"),
    "a call": (lambda a: a.update({STEM: MALICIOUS()}), r"asks to call 'posix\.system'"),
}


@pytest.mark.parametrize(("damage", "sentence"), BAD.values(), ids=BAD)
def test_damaged_weights_are_refused_and_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    narrow: MaskRCNNRecipe,
    damage: Any,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = detectron2_of(trained(narrow))
    damage(arrays)
    file = zoo(tmp_path / "w.pkl", arrays)
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["narrow.yaml", "w.pkl"]


def test_another_formats_file_names_what_was_expected(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    torch.save(torchvision_of(trained(narrow)), tmp_path / "resnet50.pth")
    # 5 tensors per convolution, step counters aside, and the classifier's two.
    sentence = "279 tensors missing .* 267 tensors unknown .* exactly the 279 of Detectron2 Mask"
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(tmp_path / "resnet50.pth", "detectron2", tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, {"model": {}}, {1: np.zeros(1)}],
    ids=["list", "empty", "no model", "key"],
)
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: object) -> None:
    file = pickled(tmp_path / "w.pkl", content)
    with pytest.raises(InputError, match="no named tensors"):
        import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("file", "out", "sentence"),
    [
        ("none.pkl", "m.safetensors", "no such file"),
        ("w.onnx", "m.safetensors", r"expected \.pkl or \.pth"),
        ("w.pkl", "m.pth", r"checkpoints are \.safetensors"),
    ],
)
def test_wrong_paths_are_named(tmp_path: Path, file: str, out: str, sentence: str) -> None:
    pickled(tmp_path / "w.pkl", {})
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(tmp_path / file, "detectron2", tmp_path / out)


def test_the_file_it_was_is_said_and_only_the_body_where_only_it_came(
    tmp_path: Path, narrow: MaskRCNNRecipe
) -> None:
    torch.save(torchvision_of(trained(narrow)), tmp_path / "resnet50.pth")
    out = tmp_path / "m.safetensors"
    import_checkpoint(tmp_path / "resnet50.pth", "torchvision", out, classes="cat,dog")
    checkpoint = load_checkpoint(out)
    assert checkpoint.origin == (
        "imported from resnet50.pth (torchvision's ImageNet ResNet-50), heads untrained"
    )
    assert checkpoint.recipe.class_names == ("cat", "dog")
    new_checkpoint(checkpoint.recipe, tmp_path / "new.safetensors", backbone=out)
    assert load_checkpoint(tmp_path / "new.safetensors").origin == "untrained"


@pytest.mark.parametrize("text", ["{}", "[]", '{"title": 1}', "words"])
def test_a_header_that_says_no_origin_is_refused(
    tmp_path: Path, narrow: MaskRCNNRecipe, text: str
) -> None:
    path = tmp_path / "m.safetensors"
    new_checkpoint(narrow, path)
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, metadata | {"maskrt.imported": text})
    with pytest.raises(InputError, match=r"maskrt\.imported in its header is unreadable"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("source", "words", "sentence"),
    [
        (
            "torchvision",
            {"config": Path("c.yaml")},
            r"--config c\.yaml: --format torchvision found",
        ),
        (
            "caffe",
            {"config": Path("c.yaml")},
            "--format caffe found; expected detectron2 or mmdetection",
        ),
        ("caffe", {"classes": "cat"}, "--classes: --format caffe found"),
    ],
)
def test_options_of_another_format_are_refused(
    tmp_path: Path, source: Any, words: Any, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(tmp_path / "w.pkl", source, tmp_path / "m.safetensors", **words)


@pytest.mark.slow
def test_the_full_size_network_goes_round(tmp_path: Path) -> None:
    state = trained(load_recipe("mask_rcnn_r50_c4"))
    file = zoo(tmp_path / "model_final.pkl", detectron2_of(state))
    report = import_checkpoint(file, "detectron2", tmp_path / "m.safetensors")
    assert report.startswith("279 tensors, 36,015,852 values")
    assert "80 classes (COCO's)" in report
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.recipe.class_names[0] == "person"
    assert_holds(loaded.model.state_dict(), state)
