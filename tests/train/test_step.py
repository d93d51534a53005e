"""A step in parts, losses that nobody looked at, and what a fused or compiled step changes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from maskrt.runtime.errors import ConfigError, TrainError
from maskrt.train import run_state
from maskrt.train.compiled import compiler_named
from maskrt.train.data.batches import Batch
from maskrt.train.data.dataset import CocoInstances
from maskrt.train.data.epochs import endless_batches
from maskrt.train.data.target import Target
from maskrt.train.loop import train
from maskrt.train.loss_values import Divergence, LossValues
from maskrt.train.recipes.recipe import Recipe
from maskrt.train.run_log import LOG_EVERY, Log
from maskrt.train.run_state import Run, new_run, restore, save_state
from maskrt.train.seeds import torch_seed
from maskrt.train.step import LossModule, one_step
from maskrt.train.watch.terminal import Terminal

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")

ANCHORS = 36 * 15
"""Of a canvas of 96 px."""
ALL_SAMPLED = (
    f"proposals.batch_per_image={ANCHORS}",
    "proposals.positive_fraction=1.0",
    "proposals.pre_nms_train=5000",
    "proposals.post_nms_train=5000",
    "proposals.nms_iou=1.0",
    f"detections.batch_per_image={ANCHORS + 1}",
    "detections.positive_fraction=1.0",
    "model.norm=frozen",
    "model.head_norm=false",
    "solver.clip_norm=0",
)
"""Nothing random; two pictures whose objects are alike have as many RoIs and positives each."""


def two_pictures() -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(1, 96, 96, dtype=torch.uint8)
    masks[:, 20:60, 30:80] = 1
    return Batch(
        images=images,
        image_sizes=torch.tensor([[96, 96], [96, 96]], dtype=torch.int32),
        boxes=[torch.tensor([[30.0, 20.0, 80.0, 60.0]])] * 2,
        labels=[torch.tensor([1])] * 2,
        masks=[masks] * 2,
        crowd_boxes=[torch.zeros(0, 4)] * 2,
        image_ids=[1, 2],
    )


def stepped(recipe: Recipe, batch: Batch) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses of one step and the gradients that it went down."""
    run = new_run(recipe, CPU)
    losses = one_step(run, LossModule(run.model), batch, recipe.solver, 0)
    named = run.model.named_parameters()
    return dict(losses), {name: p.grad.clone() for name, p in named if p.grad is not None}


def test_a_step_in_two_parts_has_the_gradients_of_the_whole_batch(tiny: MakeRecipe) -> None:
    batch = two_pictures()
    losses, whole = stepped(tiny(*ALL_SAMPLED), batch)
    in_parts, added = stepped(tiny(*ALL_SAMPLED, "solver.accumulate=2"), batch)
    alone = stepped(tiny(*ALL_SAMPLED), batch.parts(2)[0])[1]
    assert losses["mask"] > 0
    assert in_parts == pytest.approx(losses, rel=1e-5)
    assert added.keys() == whole.keys()
    first = "backbone.stem.conv1.weight"
    assert (alone[first] - whole[first]).norm() > 1e-2 * whole[first].norm()  # the other one counts
    for name, gradient in whole.items():
        # a bias of the subnet is a sum of 200,000 numbers in float32, one after the other
        most = 2e-3 if name in ("subnet.conv1.bias", "subnet.conv2.bias") else 2e-5
        assert (added[name] - gradient).norm() <= most * gradient.norm(), name


def test_parts_weigh_by_their_pictures(tiny: MakeRecipe, shapes_folder: Path) -> None:
    recipe = tiny("solver.batch=5")
    batch = next(endless_batches(CocoInstances(shapes_folder, "train"), recipe, 0, 0, (0, 1)))
    parts = batch.parts(2)
    assert [part.image_ids for part in parts] == [batch.image_ids[:3], batch.image_ids[3:]]
    assert [len(part.masks) for part in batch.parts(9)] == [1] * 5
    recipe = tiny("solver.batch=5", "solver.accumulate=2", "model.norm=frozen")
    run, generator = new_run(recipe, CPU), torch.Generator().manual_seed(torch_seed(0, 0, 0))
    module = LossModule(run.model)
    of_parts = []
    for part in parts:
        targets = [
            Target(*picture)
            for picture in zip(part.boxes, part.labels, part.masks, part.crowd_boxes, strict=True)
        ]
        of_parts.append(module(part.images, part.image_sizes, targets, generator))
    first, second = of_parts
    expected = {name: float((0.6 * first[name] + 0.4 * second[name]).detach()) for name in first}
    assert dict(one_step(run, module, batch, recipe.solver, 0)) == pytest.approx(expected, rel=1e-5)


def later() -> Divergence:
    """As on a GPU."""
    return Divergence(CPU, at_once=False)


def test_the_first_step_that_diverged_is_named_whenever_one_looks() -> None:
    divergence = later()
    for step, loss in enumerate((1.0, float("inf"), float("nan"), 2.0)):
        divergence.note(step, torch.tensor(loss))
    with pytest.raises(TrainError, match="step 1: the loss is infinite or NaN; training diverged"):
        divergence.require_none()
    losses = LossValues({"mask": torch.tensor(2.0)}, divergence)
    assert list(losses) == ["mask"]
    with pytest.raises(TrainError, match="step 1: "):
        losses["mask"]
    with pytest.raises(TrainError, match="step 0: "):
        Divergence(CPU, at_once=True).note(0, torch.tensor(float("nan")))


def test_no_state_is_saved_of_a_run_that_diverged_unseen(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "Divergence", lambda device, at_once: later())
    recipe = tiny(
        *("solver.lr=1e+30", "solver.clip_norm=0", "solver.warmup_steps=0"),
        *("solver.steps=9", "solver.checkpoint_every=4"),
    )
    with pytest.raises(TrainError, match="step 1: the loss is infinite or NaN"):  # seen at step 4
        train(recipe, CocoInstances(shapes_folder, "train"), tmp_path, workers=0, progress=False)
    assert not list(tmp_path.glob("*.safetensors"))
    run = new_run(recipe, CPU)
    run.divergence.note(7, torch.tensor(float("nan")))
    with pytest.raises(TrainError, match="step 7: "):
        save_state(run, tmp_path / "resume.safetensors")


class Counted(Mapping[str, float]):
    """Losses that count who looks."""

    looks = 0

    def __getitem__(self, name: str) -> float:
        self.looks += 1
        return 0.5

    def __iter__(self) -> Iterator[str]:
        return iter(("mask",))

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("terminal", [False, True])
def test_losses_are_looked_at_when_they_are_written_or_shown(
    tiny: MakeRecipe, tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    looked = []
    log = Log(tmp_path, 0)
    with (
        (tmp_path / "said").open("w") as stream,
        Terminal(
            "tiny",
            tiny("solver.steps=1000").solver,
            0,
            shown=True,
            console=Console(file=stream, force_terminal=terminal),
        ) as said,
    ):
        for step in range(1, 2 * LOG_EVERY + 1):
            losses = Counted()
            said.step_begins()
            log.write(step, 0.02, losses, said.stepped(step, 0.02, losses))
            if losses.looks:
                looked.append(step)
    log.close()
    assert looked == [1, LOG_EVERY, 2 * LOG_EVERY]


def taken(run: Run, recipe: Recipe, dataset: CocoInstances, steps: int) -> dict[str, Tensor]:
    """Weights after so many more steps."""
    batches = endless_batches(dataset, recipe, run.step, 0, (0, 1))
    for _ in range(steps):
        one_step(run, LossModule(run.model), next(batches), recipe.solver, 0)
    return {name: value.clone() for name, value in run.model.state_dict().items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_fused_optimizer_gives_the_same_weights_and_goes_on_exactly(
    tiny: MakeRecipe, shapes_folder: Path, tmp_path: Path, precision: str
) -> None:
    dataset = CocoInstances(shapes_folder, "train")
    words = [f"solver.precision={precision}", "solver.steps=9"]
    plain, fused = tiny(*words), tiny(*words, "solver.fused=true")
    one = taken(new_run(plain, CPU), plain, dataset, 1)
    run = new_run(fused, CPU)
    other = taken(run, fused, dataset, 1)
    for name, value in one.items():
        assert torch.allclose(other[name], value, rtol=1e-6, atol=1e-9), name
    save_state(run, tmp_path / "resume.safetensors")
    whole, resumed = taken(run, fused, dataset, 2), new_run(fused, CPU)
    restore(resumed, tmp_path / "resume.safetensors")
    again = taken(resumed, fused, dataset, 2)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


@pytest.mark.parametrize("levels", [False, True])
def test_a_compiled_body_takes_the_same_step_under_the_same_names(
    levels: bool, tiny: MakeRecipe, pyramid: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's tracer; its compiler for CPUs then takes a minute to build the same."""
    monkeypatch.setattr("maskrt.train.compiled.BACKEND", "eager")
    make, batch = pyramid if levels else tiny, two_pictures()
    losses, gradients = stepped(make("solver.ema_decay=0.5"), batch)
    compiled, same = stepped(make("solver.ema_decay=0.5", "solver.compile=true"), batch)
    assert compiled == pytest.approx(losses, rel=1e-5)
    assert same.keys() == gradients.keys()
    name = next(iter(gradients))
    assert torch.allclose(same[name], gradients[name], rtol=1e-3, atol=1e-6)
    one, other = (new_run(make(*words), CPU).model for words in ((), ("solver.compile=true",)))
    assert one.state_dict().keys() == other.state_dict().keys()


def test_a_compiler_that_stops_is_one_sentence() -> None:
    from torch._inductor.exc import CppCompileError

    said = r"solver\.compile=true: torch\.compile stopped .*Install g\+\+, or leave"
    with pytest.raises(ConfigError, match=said), compiler_named():
        raise CppCompileError(["g++"], "no such file")
    with pytest.raises(torch.OutOfMemoryError), compiler_named():
        raise torch.OutOfMemoryError
