"""Two processes that share a batch learn what one learns from it: losses and weights of two steps.

Gloo on the CPU. In the first step the second process has no object at all, in the second one in two
pictures. Batch norm's statistics are each process's own, as torch has it: the detectors here have
none, FastMask's, which always has one, are the same because all pictures are.
"""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskrt.train.recipes.recipe import Recipe
from maskrt.train.step import LossModule

from . import one_of_two
from .one_of_two import Case, descended, network_of
from .three_pictures import target_of

MakeRecipe = Callable[..., Recipe]
NAMES = ("c4", "fpn", "fastmask")

RPN = ("batch_per_image=1500", "positive_fraction=1.0", "pre_nms_train=5000", "nms_iou=1.0")
DETECTOR = (
    *(f"proposals.{setting}" for setting in (*RPN, "post_nms_train=5000")),
    "detections.batch_per_image=270",
    "detections.positive_fraction=1.0",
    "model.norm=frozen",
    "model.head_norm=false",
)
PROPOSER = (
    "windows.objectness_batch=2000",
    "windows.mask_batch=2000",
    "windows.hard_share=0.0",
    "model.norm=frozen",
)
"""All are sampled, so what is drawn is the same in one process and in two."""


def detector_case(recipe: Recipe) -> Case:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([[32, 32], [28, 32], [32, 25], [32, 32]])
    return Case(recipe, images, sizes, batches((32, 32), 32))


def proposer_case(recipe: Recipe) -> Case:
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(0, 256, (1, 160, 192, 3), dtype=torch.uint8, generator=generator)
    images, sizes = image.expand(4, -1, -1, -1), torch.tensor([[160, 192]]).expand(4, -1)
    return Case(recipe, images, sizes, batches((160, 192), 160))


def batches(size_hw: tuple[int, int], unit: int) -> list[list[object]]:
    """Ground truth of four pictures in two steps; boxes are in parts of `unit` px."""

    def box(*parts: float) -> list[float]:
        return [part * unit for part in parts]

    two = target_of(size_hw, [box(0.1, 0.08, 0.66, 0.6), box(0.35, 0.3, 0.95, 0.93)], [1, 3])
    crowd = target_of(size_hw, [box(0.3, 0.12, 0.9, 0.7)], [0], [box(0.02, 0.04, 0.3, 0.5)])
    none = target_of(size_hw, [], [])
    return [[two, crowd, none, none], [crowd, none, none, two]]


@pytest.fixture(scope="module")
def cases(tiny: MakeRecipe, pyramid: MakeRecipe, proposer: MakeRecipe) -> dict[str, Case]:
    return {
        "c4": detector_case(tiny(*DETECTOR)),
        "fpn": detector_case(pyramid(*DETECTOR)),
        "fastmask": proposer_case(proposer("fastmask_tiny", *PROPOSER)),
    }


Ended = dict[str, tuple[list[dict[str, float]], dict[str, Tensor]]]


@pytest.fixture(scope="module")
def two(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    """What each of two processes said and had in the end, by case."""
    folder = tmp_path_factory.mktemp("two")
    torch.save({name: case.parts for name, case in cases.items()}, folder / "cases.pt")
    script = [sys.executable, one_of_two.__file__, str(folder)]
    running = [subprocess.Popen([*script, str(rank)]) for rank in range(2)]
    assert [process.wait(120) for process in running] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_does(
    cases: dict[str, Case], two: list[Ended], name: str
) -> None:
    case, model = cases[name], network_of(cases[name])
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    whole = descended(case, model, LossModule(model))
    (first, weights), (second, others) = (ended[name] for ended in two)
    for one, *halves in zip(whole, first, second, strict=True):
        mean = {key: sum(half[key] for half in halves) / 2 for key in one}
        assert mean == pytest.approx(one, rel=1e-4)
    for key, value in model.named_parameters():
        assert torch.equal(weights[key], others[key]), key
        way = (value.detach() - before[key]).norm()
        off = (weights[key] - value.detach()).norm()
        assert off <= 1e-3 * way + 1e-6 * value.detach().norm(), key
