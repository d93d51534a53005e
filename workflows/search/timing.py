"""Where a search's milliseconds come from: layer profiles of engines, or a GPU's data sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import InputError, first_line
from ...runtime.files import require_file
from ...runtime.json_values import decoded, parse_json

if TYPE_CHECKING:
    from ...export.precision.mixture import GroupPrecision
    from ...export.search.times import FloorTimes, MeasuredLayer, MeasuredTimes
    from ...export.search.trials import Trials
    from .opening import Opened


def group_times(
    opened: Opened,
    trials: Trials,
    levels: tuple[GroupPrecision, ...],
    name: str | None,
    profiles: Sequence[Path],
) -> FloorTimes | MeasuredTimes | None:
    """Times of groups by layer profiles, completed by a GPU's floors; None where none is named.

    Raises:
        InputError: an unknown GPU, or one without units for a precision; a file is no layer
            profile, or names none of the model's nodes.
        ExportError: the model's shapes are not static.
    """
    from ...export.roofline.gpus import gpu
    from ...export.search.search import uniform
    from ...export.search.times import floor_times, group_of_nodes

    if name is None:
        return None
    model = opened.judged.subject.model
    choices = {level: uniform(opened.tree, levels, level, opened.able) for level in levels}
    floors = floor_times(model, trials.typed, gpu(name), choices)
    if not profiles:
        return floors
    return _measured(profiles, floors, group_of_nodes(model, opened.tree.names))


def _measured(
    profiles: Sequence[Path], floors: FloorTimes, group_of: dict[str, str]
) -> MeasuredTimes:
    from ...export.search.times import measured_times

    read = [_profile(path) for path in profiles]
    for path, (_, layers) in zip(profiles, read, strict=True):
        if not any(node in group_of for layer in layers for node in layer.onnx):
            raise InputError(
                f"{path}: none of {len(layers)} layers names a node of this model; expected the "
                "profile of an engine that was built from it. Profile that engine."
            )
    pairs = zip(profiles, read, strict=True)
    names = " and ".join(f"{path.name} on {where}" for path, (where, _) in pairs)
    source = f"measured layers of {names}; what they lack scaled by {floors.source}"
    return measured_times([layers for _, layers in read], source, group_of, floors)


def _profile(path: Path) -> tuple[str, list[MeasuredLayer]]:
    """The GPU and the layers of one profile."""
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
        return decoded(str, raw["gpu"], "gpu"), layers
    except (OSError, ValueError, KeyError, TypeError, IndexError) as err:
        raise InputError(
            f"{path}: no layer profile ({first_line(err)}); expected the JSON line of python -m "
            "maskrt.engines.layers.layer_profile X.engine --json. Write it again."
        ) from err
