"""From a checkpoint to a verified ONNX file, or to a bundle of one for each canvas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import InputError
from ..runtime.pictures.preprocess import Image, read_image
from ..runtime.pictures.sources import is_video, source_files
from .data import load_data, require_at_least_one
from .shipped import named_file

MOST_PICTURES = 32
"""An export runs each of them through torch and twice through ONNX Runtime."""

if TYPE_CHECKING:
    from ..export.precision.mixture import Mixture
    from ..export.shared_weights import SharedWeights
    from ..export.to_onnx import ExportReport
    from ..runtime.contract import Precision, Rest
    from ..train.deploy.canvases import CanvasNames


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    precision: Precision | None = None,
    *,
    canvases: CanvasNames | Sequence[tuple[int, int]] | None = None,
    batch: int = 1,
    proposals: int | None = None,
    detections: int | None = None,
    rules: str = "even_bins",
    mixture: Path | None = None,
    rest: Rest | None = None,
    calibrate: Path | None = None,
    calibration_images: int = 64,
    pictures: Sequence[Path] = (),
    overrides: Sequence[str] = (),
) -> list[ExportReport]:
    """Export a checkpoint; files appear once ONNX Runtime agrees with torch.

    Args:
        checkpoint: `.safetensors` with its `.yaml`, or the name of a shipped one.
        out: `.onnx` to write, or without suffix the folder of a bundle.
        precision: of the graphs; None is fp32, or what the mixture says.
        canvases: height and width in pixels of each, of a file only one; or by name, see
            `train/deploy/canvases.py`. None takes the recipe's, for a bundle in both orientations.
        batch: pictures per run.
        proposals: slots; None takes the recipe's.
        detections: slots; None takes the recipe's.
        rules: `all`, `none`, or names of exact rewrites with commas between.
        mixture: a precision file that a search wrote, in the place of a precision.
        rest: int8 and fp8 only: what all but their layers computes in; None is fp16.
        calibrate: int8 and fp8 only, which need it: labelled folder whose train pictures give the
            ranges of activations.
        calibration_images: int8 and fp8 only: the first so many of them.
        pictures: picture files and folders to compare torch and ONNX Runtime on, and to measure
            FP16 headroom on, `MOST_PICTURES` at most; without them on a drawn scene.
        overrides: `key=value` each, of the recipe's `proposals` and `detections`, e.g.
            "detections.nms_iou=0.3".

    Returns:
        One report for each graph: of a file one.

    Raises:
        InputError, ConfigError: a file or an option is not usable.
        ExportError: torch cannot export it, or ONNX Runtime does not agree with torch.
    """
    from ..export.rules.exact_rules import rule_names
    from ..export.to_onnx import export
    from ..train.deploy.deployment import Shapes

    checkpoint = named_file(checkpoint)
    chosen = _mixture(mixture, precision, checkpoint)
    wanted = precision or "fp32"
    _check_rest(rest, wanted)
    if chosen is not None:
        from ..export.precision.mixture import lowest

        wanted = lowest(chosen)
    options: dict[str, Any] = {
        "mixture": chosen,
        "rest": rest or "fp16",
        "rules": rule_names(rules),
        "calibration": _calibration(calibrate, wanted, calibration_images, chosen),
        "pictures": _read_pictures(pictures) if pictures else None,
        "overrides": overrides,
    }

    def export_one(
        path: Path, canvas_hw: tuple[int, int] | None, weights: SharedWeights | None = None
    ) -> ExportReport:
        shapes = Shapes(canvas_hw, batch, proposals, detections)
        (report,) = export(checkpoint, {wanted: path}, shapes=shapes, weights=weights, **options)
        return report

    if out.suffix:
        return [export_one(out, _one_canvas(out, canvases))]
    from ..export.bundle import export_bundle

    return export_bundle(out, _canvases(checkpoint, canvases), export_one)


def _one_canvas(
    out: Path, canvases: CanvasNames | Sequence[tuple[int, int]] | None
) -> tuple[int, int] | None:
    """The canvas of a file; None is the recipe's."""
    if canvases is None:
        return None
    if isinstance(canvases, str) or len(canvases) != 1:
        raise InputError(
            f"{out}: several canvases asked for; expected one for a file. Leave the suffix away "
            f"to get a bundle, a folder with a graph for each: -o {out.with_suffix('')}"
        )
    return canvases[0]


def _canvases(
    checkpoint: Path, canvases: CanvasNames | Sequence[tuple[int, int]] | None
) -> tuple[tuple[int, int], ...]:
    """Those of a bundle."""
    from ..train.deploy.canvases import canvases_of
    from ..train.weights.checkpoint import load_checkpoint

    return canvases_of(load_checkpoint(checkpoint).recipe, canvases or "portrait-landscape")


def _read_pictures(sources: Sequence[Path]) -> list[Image]:
    """The first pictures of some files and folders."""
    paths = source_files(sources)
    video = next((path for path in paths if is_video(path)), None)
    if video is not None:
        raise InputError(f"--pictures {video}: a video; expected pictures. Leave it away.")
    return [read_image(path) for path in paths[:MOST_PICTURES]]


def _mixture(
    precision_file: Path | None, precision: Precision | None, checkpoint: Path
) -> Mixture | None:
    """What a precision file chose; None without one."""
    if precision_file is None:
        return None
    if precision is not None:
        raise InputError(
            f"--mixture {precision_file}: --precision {precision} found; expected one of the two, "
            "as the file says what each part computes in. Leave --precision away."
        )
    from ..export.search.precision_file import mixture_for

    return mixture_for(precision_file, checkpoint)


def _check_rest(rest: Rest | None, precision: Precision) -> None:
    if rest is not None and precision not in ("int8", "fp8"):
        raise InputError(
            f"--rest {rest}: --precision {precision} found; expected int8 or fp8, beside which "
            "there is a rest. Leave --rest away."
        )


def _calibration(
    data: Path | None, precision: Precision, images: int, mixture: Mixture | None
) -> tuple[Path, ...]:
    """The pictures that int8 and fp8 are calibrated on; none for others and for a mixture."""
    asked = mixture is None and precision in ("int8", "fp8")
    if asked == (data is None):
        found = "no --calibrate" if data is None else f"--calibrate {data}"
        what = "--mixture" if mixture is not None else f"--precision {precision}"
        raise InputError(
            f"{what}: {found} found; expected a labelled folder of pictures for --precision int8 "
            "or fp8, and for these alone. Name the folder that you train on."
        )
    if data is None:
        return ()
    require_at_least_one(calibration_images=images)
    from ..eval.datasets.source import DataSource

    source = DataSource(data, lenient=True)  # of which only the pictures are taken
    return tuple(record.path for record in load_data(source, "train", images).images)
