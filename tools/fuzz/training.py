"""The readers of training that are fuzzed: recipes, checkpoints, states to resume from, logs."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from .mutations import mutated_bytes, mutated_json
from .reader import Reader

if TYPE_CHECKING:
    from ...train.recipes.recipe import Recipe

_NARROW = (
    *("model.stem_channels=4", "model.backbone_channels=4", "model.blocks=[1,1,1,1]"),
    *("model.separable_channels=4", "model.subnet_mid_channels=4", "model.subnet_channels=4"),
    *("model.mask_channels=4", "solver.ema_decay=0.5", "solver.precision=fp16"),
)
_BYTES_SHARE = 0.2  # of the cases that change a safetensors file anywhere
_WEIGHTS_SHARE = 0.1  # of those that change one value, which is mostly a good one still


def _recipe() -> Recipe:
    from ...train.recipes.recipe import load_recipe

    return load_recipe("lsc_mask_rcnn_tiny", _NARROW)


def _write_recipe(folder: Path) -> Path:
    from ...train.recipes.recipe import dump_recipe

    path = folder / "recipe.yaml"
    path.write_text(dump_recipe(_recipe()), encoding="utf-8")
    return path


def _read_recipe(folder: Path) -> object:
    """The recipe and its network, without memory for its weights."""
    import torch

    from ...train.networks.families import new_network
    from ...train.recipes.recipe import dump_recipe, load_recipe

    recipe = load_recipe(folder / "recipe.yaml")
    with torch.device("meta"):
        return dump_recipe(recipe), new_network(recipe)


def _write_sweep(folder: Path) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(
        "shapes: {images: 4, val_images: 2, sizes_hw: [[96, 96]], kinds: [star]}\n"
        "seeds: [0, 1]\nbudget: [solver.steps=2]\nrows:\n"
        "  a: {label: one, recipe: fastmask_nano}\n"
        "  b: {label: other, recipe: fastmask_nano, overrides: [model.streams=1], of: a}\n"
        "tables: {t: {title: T, metrics: [mask_ar_100], rows: {a: [1.5], b: []}}}\n"
    )
    return path


def _read_sweep(folder: Path) -> object:
    from ...workflows.sweep.plan import load_plan

    return load_plan(folder / "sweep.yaml").runs()


def _write_checkpoint(folder: Path) -> Path:
    from ...train.weights.checkpoint import new_checkpoint, record_accuracy

    path = folder / "model.safetensors"
    new_checkpoint(_recipe(), path)
    record_accuracy(path, {"box_ap": 1.5, "mask_ap": 2.0})
    return path


def _write_checkpoint_recipe(folder: Path) -> Path:
    return _write_checkpoint(folder).with_suffix(".yaml")


def _read_checkpoint(folder: Path) -> object:
    from ...train.weights.checkpoint import load_checkpoint

    return load_checkpoint(folder / "model.safetensors")


def _write_state(folder: Path) -> Path:
    import torch

    from ...train.run_state import new_run, save_state

    run = new_run(_recipe(), torch.device("cpu"), overrides=_NARROW)
    loss = torch.stack([p.sum() for p in run.model.parameters() if p.requires_grad]).sum()
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step = 1
    save_state(run, folder / "resume.safetensors")
    return folder / "resume.safetensors"


def _read_state(folder: Path) -> object:
    import torch

    from ...train.run_state import new_run, restore, resumed_recipe

    path = folder / "resume.safetensors"
    run = new_run(resumed_recipe(path, "lsc_mask_rcnn_tiny"), torch.device("cpu"))
    restore(run, path)
    return run


def _write_config(folder: Path) -> Path:
    """With a base beside it."""
    (folder / "base.yaml").write_text("MODEL: {META_ARCHITECTURE: GeneralizedRCNN}\n")
    path = folder / "config.yaml"
    path.write_text(
        "_BASE_: base.yaml\n"
        "MODEL:\n"
        "  PIXEL_MEAN: [100.0, 110.0, 120.0]\n"
        "  ANCHOR_GENERATOR: {SIZES: [[32, 64, 128]], ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}\n"
        "  RPN: {NMS_THRESH: 0.6, PRE_NMS_TOPK_TEST: 3000}\n"
        "  ROI_HEADS: {NUM_CLASSES: 3, SCORE_THRESH_TEST: 0.1}\n"
        'INPUT: {MIN_SIZE_TRAIN: "(640, 672)", MIN_SIZE_TEST: 640, MAX_SIZE_TEST: 1000}\n'
    )
    return path


def _read_config(folder: Path) -> object:
    from ...train.weights.detectron2.config_file import read_config
    from ...train.weights.detectron2.settings import recipe_values

    return recipe_values(read_config(folder / "config.yaml"))


def _write_log(folder: Path) -> Path:
    path = folder / "log.csv"
    rows = "".join(f"{step},0.01,{1 / step:.9g}\n" for step in (1, 20, 40, 60))
    path.write_text(f"step,lr,mask\n{rows}")
    return path


def _read_log(folder: Path) -> object:
    from ...train.run_log import Log

    log = Log(folder, 40)
    log.write(60, 0.01, {"mask": 0.5}, 8.0)
    log.close()
    return log


def _write_evaluations(folder: Path) -> Path:
    path = folder / "evaluations.csv"
    path.write_text("step,box_ap,mask_ap\n100,1.5,0.25\n200,12.0,10.5\n300,11.0,9.0\n")
    return path


def _read_evaluations(folder: Path) -> object:
    from ...train.watch.evaluations import Evaluations

    evaluations = Evaluations(folder, 250)
    return evaluations.add(300, {"box_ap": 13.0, "mask_ap": 11.0}), evaluations.without_gain


def _mutated_safetensors(data: bytes, rng: Random) -> bytes:
    """Mostly what is read of it: the header, its length set right again."""
    length = int.from_bytes(data[:8], "little")
    kind = rng.random()
    if kind < _BYTES_SHARE:
        return mutated_bytes(data, rng)
    if kind > 1 - _WEIGHTS_SHARE:
        place = rng.randrange(8 + length, len(data))
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    header = json.loads(data[8 : 8 + length])
    key = "__metadata__" if rng.random() < 0.5 else rng.choice(list(header))
    part = mutated_json(json.dumps({key: header.pop(key)}).encode(), rng)
    text = part if not header else part.rstrip()[:-1] + b"," + json.dumps(header).encode()[1:]
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


READERS: dict[str, Reader] = {
    "recipe": Reader(_write_recipe, _read_recipe, mutated_bytes),
    "checkpoint": Reader(_write_checkpoint, _read_checkpoint, _mutated_safetensors),
    "sweep": Reader(_write_sweep, _read_sweep, mutated_bytes),
    "checkpoint-yaml": Reader(_write_checkpoint_recipe, _read_checkpoint, mutated_bytes),
    "resume": Reader(_write_state, _read_state, _mutated_safetensors),
    "config": Reader(_write_config, _read_config, mutated_bytes),
    "log": Reader(_write_log, _read_log, mutated_bytes),
    "evaluations": Reader(_write_evaluations, _read_evaluations, mutated_bytes),
}
