"""Saved states come back whole, or a sentence says what is wrong with them; so do logs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maskrt.runtime.errors import MaskRTError, TrainError
from maskrt.train.recipes.recipe import Recipe
from maskrt.train.run_log import Log
from maskrt.train.run_state import Run, new_run, restore, save_state
from maskrt.train.weights.tensors import load_tensors, save_tensors

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
TRAINED = "rpn.conv.weight"


@pytest.fixture
def recipe(tiny: MakeRecipe) -> Recipe:
    return tiny("solver.precision=fp16", "solver.ema_decay=0.5", "solver.weight_decay=0")


@pytest.fixture
def saved(recipe: Recipe, tmp_path: Path) -> Path:
    """A state after one step down the gradient of every trained parameter's sum."""
    run = new_run(recipe, CPU)
    loss = sum(parameter.sum() for parameter in run.model.parameters() if parameter.requires_grad)
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step = 1
    save_state(run, tmp_path / "resume.safetensors")
    return tmp_path / "resume.safetensors"


def momentum(run: Run) -> dict[str, Tensor]:
    return {
        name: run.optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in run.model.named_parameters()
        if parameter.requires_grad
    }


def test_momentum_belongs_to_names_and_scaling_goes_on(recipe: Recipe, saved: Path) -> None:
    run = new_run(recipe, CPU)
    for group in run.optimizer.param_groups:  # as if layers were made in another order
        group["params"].reverse()
    restore(run, saved)
    buffers = momentum(run)
    assert all(torch.equal(b, torch.ones_like(b)) for b in buffers.values())
    assert buffers[TRAINED].shape == run.model.rpn.conv.weight.shape
    state = run.scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (65536.0, 1)
    assert run.step == 1
    again = saved.with_name("again.safetensors")
    save_state(run, again)
    assert again.read_bytes() == saved.read_bytes()


def test_a_layer_without_momentum_goes_on_from_none(recipe: Recipe, saved: Path) -> None:
    """Older states lack it where no picture had given a gradient yet."""
    tensors, header = load_tensors(saved)
    del tensors[f"momentum.{TRAINED}"]
    save_tensors(saved, tensors, header)
    run = new_run(recipe, CPU)
    restore(run, saved)
    buffers = momentum(run)
    assert not buffers.pop(TRAINED).any()
    assert all(buffer.all() for buffer in buffers.values())


def changed(path: Path, key: str, value: str | None) -> None:
    tensors, header = load_tensors(path)
    header = {k: v for k, v in header.items() if k != key}
    save_tensors(path, tensors, header if value is None else header | {key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", None, "state of format None; expected 3, which maskrt 0.1 did not write"),
        ("format", "2", "state of format '2'; expected 3"),
        ("annotations_sha256", "0" * 64, "a run on annotations of SHA-256 000000000000; found ."),
        ("annotations_sha256", None, "Resume with its own --data"),
        ("ranks", "2", "a run of 2 processes; found 1. Resume with as many"),
        ("ranks", None, "a run of  processes; found 1"),
        ("step", None, "found step ''; expected a number of steps"),
        ("step", "many", "found step 'many'; expected a number of steps"),
        ("step", "-1", "found step '-1'"),
        ("step", "9999999", "9999999 steps are done; expected solver.steps=7800 to be more"),
        ("recipe", None, r"resume.safetensors \(header\): holds no mapping"),
        ("recipe", "name: [", r"resume.safetensors \(header\): not valid YAML"),
        ("overrides", None, "found overrides None; expected JSON"),
        ("overrides", "[1]", r"found overrides \[1\]; expected a list of key=value"),
        ("overrides", "[" * 50000, "found overrides '.*; expected JSON"),
        ("scaler", None, "found scaler None; expected JSON"),
        ("scaler", "{}", r"found scaler \{\}; expected the keys"),
        ("scaler", '{"scale": 1}', "expected the keys"),
    ],
)
def test_a_broken_header_is_one_sentence(
    recipe: Recipe, saved: Path, key: str, value: str | None, message: str
) -> None:
    changed(saved, key, value)
    with pytest.raises(MaskRTError, match=message) as caught:
        restore(new_run(recipe, CPU), saved)
    assert len(str(caught.value)) < 500


def test_scaling_that_cannot_be_is_refused(recipe: Recipe, saved: Path) -> None:
    text = load_tensors(saved)[1]["scaler"]
    for scale in ("0.0", "-1.0", "NaN", "null", "true", "1" * 400):
        changed(saved, "scaler", text.replace("65536.0", scale))
        with pytest.raises(TrainError, match=r"found scaler .*; expected positive numbers"):
            restore(new_run(recipe, CPU), saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weights.x", torch.zeros(1), r"found a tensor 'weights\.x'; expected names that begin"),
        ("momentum.x", torch.zeros(1), r"0 tensors missing and 1 unknown \(e\.g\. x\)"),
        ("average.x", torch.zeros(1), r"0 tensors missing and 1 unknown \(e\.g\. x\)"),
        (f"momentum.{TRAINED}", torch.zeros(1), r"'rpn\.conv\.weight' is \(1,\) float32"),
        (f"model.{TRAINED}", torch.zeros(1), r"'rpn\.conv\.weight' is \(1,\) float32"),
        ("model.rpn.objectness_logits.bias", None, r"1 tensors missing"),
        ("average.n_averaged", None, r"1 tensors missing"),
        ("average.n_averaged", torch.tensor(1.5), r"'n_averaged' is \(\) float32"),
    ],
)
def test_tensors_of_another_network_are_refused(
    recipe: Recipe, saved: Path, key: str, value: Tensor | None, message: str
) -> None:
    tensors, header = load_tensors(saved)
    tensors.pop(key, None)
    save_tensors(saved, tensors if value is None else tensors | {key: value}, header)
    with pytest.raises(MaskRTError, match=message):
        restore(new_run(recipe, CPU), saved)


@pytest.mark.parametrize("part", ["model", "momentum", "average.module"])
def test_values_that_are_not_finite_are_refused(recipe: Recipe, saved: Path, part: str) -> None:
    tensors, header = load_tensors(saved)
    tensors[f"{part}.{TRAINED}"].flatten()[0] = torch.inf
    save_tensors(saved, tensors, header)
    with pytest.raises(MaskRTError, match=r"rpn\.conv\.weight' holds NaN or infinite values"):
        restore(new_run(recipe, CPU), saved)


HEAD = b"step,lr,mask\n"


def rows_after(step: int, path: Path) -> bytes:
    Log(path.parent, step).close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD + b"1,0.1,2\n20,0.1,2\n40,0.1,2\n", HEAD + b"1,0.1,2\n20,0.1,2\n"),
        (HEAD + b"1,0.1,2\n20,0.", HEAD + b"1,0.1,2\n"),  # killed while a row was written
        (HEAD + b"1,0.1,2\n2", HEAD + b"1,0.1,2\n"),
        (HEAD + b"1,0.1,2\n\n \n20,0.1,2\n", HEAD + b"1,0.1,2\n20,0.1,2\n"),
        (b"step,l", b""),
        (b"", b""),
    ],
)
def test_a_log_is_kept_up_to_the_saved_step(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(before)
    assert rows_after(30, path) == after


@pytest.mark.parametrize("row", [b"x,0.1,2\n", b"-1,0.1,2\n", b",,\n", b"\xff\xfe,1\n", b"1e3,1\n"])
def test_a_log_of_something_else_is_refused(tmp_path: Path, row: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEAD + b"1,0.1,2\n" + row)
    with pytest.raises(TrainError, match=r"log\.csv: line 3 begins with '.*'; expected a step"):
        rows_after(30, path)
    assert path.read_bytes() == HEAD + b"1,0.1,2\n" + row
