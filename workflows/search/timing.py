"""Where a search's milliseconds come from: layer profiles of engines, or a GPU's data sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import InputError, first_line
from ...runtime.files import require_file
from ...runtime.json_values import decoded, parse_json

if TYPE_CHECKING:
    from ...export.precision.mixture import GroupPrecision
    from ...export.roofline.gpus import Gpu
    from ...export.search.times import FloorTimes, MeasuredLayer, MeasuredTimes
    from ...export.search.trials import Trials
    from .opening import Opened


@dataclass(frozen=True)
class Profile:
    """The layers of one engine, timed."""

    path: Path
    gpu: str
    layers: tuple[MeasuredLayer, ...]


def group_times(
    opened: Opened,
    trials: Trials,
    levels: tuple[GroupPrecision, ...],
    gpu: Gpu | None,
    profiles: Sequence[Profile],
) -> FloorTimes | MeasuredTimes | None:
    """Times of groups by layer profiles, completed by a GPU's floors; None without a GPU.

    Raises:
        InputError: the GPU has no units for a precision, or a profile names none of the model's
            nodes.
        ExportError: the model's shapes are not static.
    """
    from ...export.search.search import uniform
    from ...export.search.times import floor_times, group_of_nodes

    if gpu is None:
        return None
    model = opened.judged.subject.model
    choices = {level: uniform(opened.tree, levels, level, opened.able) for level in levels}
    floors = floor_times(model, trials.typed, gpu, choices)
    if not profiles:
        return floors
    return _measured(profiles, floors, group_of_nodes(model, opened.tree.names))


def _measured(
    profiles: Sequence[Profile], floors: FloorTimes, group_of: dict[str, str]
) -> MeasuredTimes:
    from ...export.search.times import measured_times

    for profile in profiles:
        if not any(node in group_of for layer in profile.layers for node in layer.onnx):
            raise InputError(
                f"{profile.path}: none of {len(profile.layers)} layers names a node of this model; "
                "expected the profile of an engine that was built from it. Profile that engine."
            )
    names = " and ".join(f"{profile.path.name} on {profile.gpu}" for profile in profiles)
    source = f"measured layers of {names}; what they lack scaled by {floors.source}"
    return measured_times([profile.layers for profile in profiles], source, group_of, floors)


def read_profile(path: Path) -> Profile:
    """What `python -m maskrt.engines.layers.layer_profile X.engine --json` printed.

    Raises:
        InputError: it is no such file.
    """
    from ...export.search.times import MeasuredLayer

    require_file(path, "a layer profile", (".json",))
    try:
        raw: Any = parse_json(path.read_text(encoding="utf-8").strip().splitlines()[-1])
        layers = [
            MeasuredLayer(
                onnx=decoded(tuple[str, ...], layer["onnx"], "onnx"),
                precision=decoded(str, layer["precision"], "precision"),
                ms=decoded(float, layer["ms"], "ms"),
            )
            for layer in raw["layers"]
        ]
        return Profile(path, decoded(str, raw["gpu"], "gpu"), tuple(layers))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as err:
        raise InputError(
            f"{path}: no layer profile ({first_line(err)}); expected the JSON line of python -m "
            "maskrt.engines.layers.layer_profile X.engine --json. Write it again."
        ) from err
