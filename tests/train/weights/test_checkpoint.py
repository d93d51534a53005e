"""Checkpoints come back equal; broken ones are named; a full disk costs nothing that was there."""

import errno
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.weights import checkpoint
from maskrt.train.weights import tensors as tensor_files
from maskrt.train.weights.checkpoint import (
    load_checkpoint,
    new_checkpoint,
    record_accuracy,
    save_checkpoint,
    start_from,
)
from maskrt.train.weights.tensors import load_tensors, save_tensors

MakeRecipe = Callable[..., MaskRCNNRecipe]
MakeProposer = Callable[..., FastMaskRecipe]

CHECKPOINTS = Path(checkpoint.__file__).parents[1] / "checkpoints"
BIAS = "rpn.objectness_logits.bias"  # one value per anchor: 15


@pytest.fixture
def saved(tiny: MakeRecipe, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    new_checkpoint(tiny(), path)
    return path


def with_tensor(path: Path, key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors | {key: change(tensors[key])}, metadata)


def test_what_is_saved_is_loaded(tiny: MakeRecipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = MaskRCNN(tiny())
    model.backbone.stem.conv1.norm.running_mean.fill_(3)
    path = tmp_path / "runs" / "model.safetensors"  # folders are made
    save_checkpoint(path, model, steps=12, measured={"box_ap": 51.5})
    found = load_checkpoint(path)
    assert (found.steps, found.measured) == (12, {"box_ap": 51.5})
    assert found.recipe.class_names == model.recipe.class_names
    assert found.recipe.model == model.recipe.model
    assert not found.model.training
    expected = model.state_dict()
    assert found.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in found.model.state_dict().items())


def test_the_seed_decides_an_untrained_network(tiny: MakeRecipe, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        new_checkpoint(tiny(f"solver.seed={seed}"), path)
    first, second, other = (load_checkpoint(path).model.rpn.conv.weight for path in paths)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_recording_accuracy_changes_nothing_else(saved: Path) -> None:
    before = load_checkpoint(saved)
    record_accuracy(saved, {"mask_ap": 12.25})
    after = load_checkpoint(saved)
    assert after.measured == {"mask_ap": 12.25}
    assert after.sha256 != before.sha256
    pairs = zip(before.model.state_dict().values(), after.model.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_backbone_is_taken_over_and_nothing_else(tiny: MakeRecipe, saved: Path) -> None:
    torch.manual_seed(9)
    model = MaskRCNN(tiny())
    head = model.rpn.conv.weight.clone()
    start_from(model, saved)
    given = load_checkpoint(saved).model
    assert torch.equal(model.backbone.stem.conv1.weight, given.backbone.stem.conv1.weight)
    assert torch.equal(model.rpn.conv.weight, head)


def test_a_backbone_of_other_widths_is_refused(tiny: MakeRecipe, saved: Path) -> None:
    with pytest.raises(ConfigError, match="its backbone is not the one of recipe"):
        start_from(MaskRCNN(tiny("model.stem_channels=16")), saved)


def part(model: MaskRCNN | FastMask, prefix: str) -> dict[str, torch.Tensor]:
    weights = model.state_dict()
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_either_family_takes_the_others_body(
    tiny: MakeRecipe, proposer: MakeProposer, saved: Path, tmp_path: Path
) -> None:
    detector = load_checkpoint(saved).model
    torch.manual_seed(9)
    model = FastMask(proposer("fastmask_tiny"))
    others = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("body.")}
    start_from(model, saved)
    assert same(part(model, "body."), part(detector, "backbone."))
    assert all(torch.equal(v, others[k]) for k, v in model.state_dict().items() if k in others)

    torch.manual_seed(10)
    save_checkpoint(tmp_path / "proposer.safetensors", FastMask(proposer("deepmask_tiny")))
    back = MaskRCNN(tiny())
    start_from(back, tmp_path / "proposer.safetensors")
    given = load_checkpoint(tmp_path / "proposer.safetensors").model
    assert same(part(back, "backbone."), part(given, "body."))


def test_an_untied_second_stream_starts_as_the_first(
    tiny: MakeRecipe, proposer: MakeProposer, saved: Path, tmp_path: Path
) -> None:
    untied = FastMask(proposer("fastmask_tiny", "model.compat=original"))
    start_from(untied, saved)
    given = part(load_checkpoint(saved).model, "backbone.res4.")
    assert same(part(untied, "body.res4."), given)
    assert same(part(untied, "body.res4_second."), given)

    with torch.no_grad():
        untied.body.res4_second[0].conv1.weight.add_(1)
    save_checkpoint(tmp_path / "untied.safetensors", untied)
    again = FastMask(proposer("fastmask_tiny", "model.compat=original"))
    start_from(again, tmp_path / "untied.safetensors")
    assert same(part(again, "body."), part(untied, "body."))  # the file's own, where it has one
    tied, detector = FastMask(proposer("fastmask_tiny")), MaskRCNN(tiny())
    for model, prefix in ((tied, "body."), (detector, "backbone.")):
        start_from(model, tmp_path / "untied.safetensors")
        assert same(part(model, f"{prefix}res4."), part(untied, "body.res4."))


@pytest.mark.parametrize("override", ["model.body=vgg", "model.blocks=[1, 2, 1]"])
def test_a_body_of_other_layers_is_refused(
    proposer: MakeProposer, saved: Path, override: str
) -> None:
    with pytest.raises(ConfigError, match="its backbone is not the one of recipe fastmask_tiny"):
        start_from(FastMask(proposer("fastmask_tiny", override)), saved)


def test_a_missing_recipe_is_named(saved: Path) -> None:
    saved.with_suffix(".yaml").unlink()
    with pytest.raises(
        InputError, match=r"model\.yaml: no such file; expected the resolved recipe"
    ):
        load_checkpoint(saved)


def test_a_broken_recipe_is_named(saved: Path) -> None:
    saved.with_suffix(".yaml").write_text("name: a\nmodell: {}\n")
    with pytest.raises(ConfigError, match=r"model\.yaml: unknown key 'modell'"):
        load_checkpoint(saved)


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_recipe_of_other_weights_is_refused_by_key(tiny: MakeRecipe, saved: Path) -> None:
    edited(saved.with_suffix(".yaml"), "mask_channels: 8", "mask_channels: 16")
    with pytest.raises(
        InputError, match=r"model\.mask_channels=8; model\.yaml beside it says 16\."
    ):
        load_checkpoint(saved)
    new_checkpoint(tiny("classes=[cat, dog]"), saved)
    weights = saved.read_bytes()
    new_checkpoint(tiny("classes=[dog, cat]", "input.mean=[1, 2, 3]"), saved)
    saved.write_bytes(weights)  # as if it had been killed between the two files
    with pytest.raises(
        InputError, match=r"saved with classes=\['cat', 'dog'\].*\['dog', 'cat'\], and 1 more"
    ):
        load_checkpoint(saved)


def test_comments_in_a_recipe_and_names_for_numbered_classes_are_its_owners(
    tiny: MakeRecipe, saved: Path
) -> None:
    new_checkpoint(tiny("classes=[class_0, class_1]"), saved)
    edited(saved.with_suffix(".yaml"), "- class_0\n- class_1", "- cat  # was 0\n- dog")
    assert load_checkpoint(saved).recipe.class_names == ("cat", "dog")
    edited(saved.with_suffix(".yaml"), "- dog", "- dog\n- cow")
    with pytest.raises(InputError, match=r"saved with classes=\['class_0', 'class_1'\]"):
        load_checkpoint(saved)


def test_a_checkpoint_of_the_first_release_opens() -> None:
    path = CHECKPOINTS / "lsc_mask_rcnn_tiny.safetensors"
    assert "maskrt.yaml" not in load_tensors(path)[1]
    assert load_checkpoint(path).steps > 0


def test_equal_checkpoints_are_equal_bytes(tiny: MakeRecipe, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in range(6)]
    for path in paths:
        new_checkpoint(tiny(), path)
        record_accuracy(path, {"mask_ap": 12.25, "box_ap": 3.0})
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("maskrt.steps", "1e9", "a number of training steps"),
        ("maskrt.steps", "-1", "a number of training steps"),
        ("maskrt.category_ids", "[1]", "10 whole numbers, none twice"),
        ("maskrt.category_ids", '{"a": 1}', "10 whole numbers, none twice"),
        ("maskrt.steps", "1" * 5000, "a number of training steps"),
        ("maskrt.measured", "[1", "a JSON object of numbers"),
        ("maskrt.measured", "[]", "a JSON object of numbers"),
        ("maskrt.measured", '{"a": null}', "a JSON object of numbers"),
        ("maskrt.measured", '{"a": NaN}', "a JSON object of numbers"),
        ("maskrt.measured", "[" * 100000, "a JSON object of numbers"),
        ("maskrt.yaml", "{", "not valid YAML"),
    ],
)
def test_a_broken_header_is_named(saved: Path, key: str, text: str, expected: str) -> None:
    tensors, metadata = load_tensors(saved)
    save_tensors(saved, tensors, metadata | {key: text})
    with pytest.raises((InputError, ConfigError), match=expected) as caught:
        load_checkpoint(saved)
    assert str(saved) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_recipe_asks_for_no_memory_before_it_fits_the_weights(saved: Path) -> None:
    tensors, metadata = load_tensors(saved)
    save_tensors(saved, tensors, {k: v for k, v in metadata.items() if k != "maskrt.yaml"})
    edited(saved.with_suffix(".yaml"), "backbone_channels: 16", "backbone_channels: 4096")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="the recipe says"):
        load_checkpoint(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("seed", [2**24, 20260101, 2**64, 2**70])
def test_seeds_have_any_size(tiny: MakeRecipe, tmp_path: Path, seed: int) -> None:
    new_checkpoint(tiny(f"solver.seed={seed}"), tmp_path / "a.safetensors")
    assert load_checkpoint(tmp_path / "a.safetensors").recipe.solver.seed == seed


def test_a_folder_in_the_way_is_refused_before_anything_is_written(
    tiny: MakeRecipe, tmp_path: Path
) -> None:
    path = tmp_path / "out.safetensors"
    path.mkdir()
    with pytest.raises(InputError, match="is a folder; expected a file to write"):
        new_checkpoint(tiny(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"not a readable safetensors file|the file is empty"):
        load_checkpoint(saved)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def test_a_renamed_pickle_is_refused_and_not_executed(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    saved.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_checkpoint(saved)
    torch.save({"model": torch.zeros(3)}, saved)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_checkpoint(saved)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.pth", "model", "model.pkl"])
def test_another_suffix_is_refused(tiny: MakeRecipe, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(InputError, match=r"checkpoints are \.safetensors files"):
        save_checkpoint(path, MaskRCNN(tiny()))
    assert not list(tmp_path.iterdir())
    path.touch()
    with pytest.raises(InputError, match=r"is not a checkpoint; expected \.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(saved: Path, value: float) -> None:
    with_tensor(saved, BIAS, lambda t: t.index_fill(0, torch.tensor([3]), value))
    with pytest.raises(InputError, match=r"'rpn\.objectness_logits\.bias' holds NaN or infinite"):
        load_checkpoint(saved)


def test_weights_of_another_width_are_refused(saved: Path) -> None:
    with_tensor(saved, BIAS, lambda t: t[:-1])
    with pytest.raises(
        InputError,
        match=r"'rpn\.objectness_logits\.bias' is \(14,\) float32; the recipe says \(15,\) float32",
    ):
        load_checkpoint(saved)


def test_missing_and_unknown_weights_are_refused(saved: Path) -> None:
    tensors, metadata = load_tensors(saved)
    bias = tensors.pop(BIAS)
    save_tensors(saved, tensors, metadata)
    with pytest.raises(
        InputError, match=r"1 tensors missing and 0 unknown \(e\.g\. rpn\.objectness_logits\.bias\)"
    ):
        load_checkpoint(saved)
    save_tensors(saved, tensors | {BIAS: bias, "rpn.spare": bias.clone()}, metadata)
    with pytest.raises(InputError, match=r"0 tensors missing and 1 unknown \(e\.g\. rpn\.spare\)"):
        load_checkpoint(saved)


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def refuse_as_safetensors(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: No space left on device (os error 28)")


def half_written(_: object, path: Path, *__: object) -> None:
    path.write_bytes(b"half")
    refuse()


@pytest.mark.parametrize(
    "broken",
    [
        (tensor_files, "save_file", refuse),
        (tensor_files, "save_file", refuse_as_safetensors),
        (tensor_files, "save_file", half_written),
        (Path, "replace", refuse),
    ],
    ids=["no space", "no space, said by safetensors", "half written", "rename refused"],
)
def test_a_full_disk_leaves_the_old_checkpoint(
    tiny: MakeRecipe,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: tuple[object, str, Callable[..., None]],
) -> None:
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}
    monkeypatch.setattr(*broken)
    with pytest.raises(InputError, match=r"could not be written \(.*No space left"):
        new_checkpoint(tiny("solver.seed=1"), saved)
    monkeypatch.undo()
    after = {path.name: path.read_bytes() for path in saved.parent.iterdir()}
    assert after == before
    load_checkpoint(saved)
