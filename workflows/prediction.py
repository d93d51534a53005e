"""Pictures, folders, videos and cameras to overlays and one results file.

    OUT/<name>.jpg or .png   the picture with its instances; JPEG for JPEG, else PNG
    OUT/<name>.mp4           the video or what the camera gave, frame by frame
    OUT/results.json         {"images": [...], "categories": [...], "annotations": [...]}

`annotations` are COCO result rows (image_id, category_id, bbox xywh, score, segmentation RLE) of
every instance, also those too low to be drawn. pycocotools takes the list as it is:

    coco.loadRes(json.load(open("OUT/results.json"))["annotations"])

`images` say which file an image_id, counted from 1, is: `file_name` as the user named it, `overlay`
in OUT (null where it could not be written), `height`, `width`; a video's frames are images of their
own, with `frame` counted from 0. An odd side of a video is one pixel more in its overlay.

A picture or video that is broken, or whose overlay cannot be written, does not cost the others:
they are finished and kept, and it is reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.errors import InputError
from ..runtime.pictures.camera import Camera
from ..runtime.pictures.named import named_sources
from ..runtime.pictures.sources import skipped_files, source_files
from ..runtime.predictor import Predictor
from ..runtime.sessions.open import ModelRef
from ..runtime.tiles.predictor import in_tiles
from .data import require_at_least_one
from .open import model_ref, open_model, open_server
from .predicting.overlays import plan_overlays
from .predicting.results_file import ResultsFile
from .predicting.run import Asked, OnProgress, Progress, Run, categories_of
from .predicting.wanted import Wanted
from .shipped import named_picture, what_it_knows

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Written:
    """What a prediction run left in its folder."""

    pictures: int
    """Pictures and video frames."""
    instances: int
    """Drawn: at or above the score, and of each picture no more than were asked for."""
    results: str
    """Path of the results file."""
    broken: tuple[str, ...] = ()
    """A sentence for each source that is broken and each overlay that could not be written."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files of source folders that are no pictures: how many of each suffix."""
    others: int = 0
    """Files in the folder that are not of this run, so the results file does not name them."""
    lost: str | None = None
    """How many pictures lost how many pixels to the canvas, in a sentence; None where none did."""
    origin: str = ""
    """How the model's weights came about, in words; empty where its file does not say."""
    knows: str = ""
    """What the model can find, in words."""
    best: float | None = None
    """Highest score of all instances kept, drawn or not; None where there are none."""


def predict_files(
    model: str | Path | ModelRef,
    sources: Sequence[str | Path],
    out: Path,
    score: float = 0.5,
    *,
    by_class: Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
    most: int | None = None,
    nms_iou: float | None = None,
    frames: int | None = None,
    compare: str | Path | ModelRef | None = None,
    server: str | None = None,
    token_file: Path | None = None,
    tiles: int | None = None,
    tile_overlap: int | None = None,
    on_progress: OnProgress | None = None,
) -> Written:
    """Open a model and predict every source; arguments and errors as `predict_sources`.

    With `server`, an address, `model` is a name there, and `open_server` says what it may raise.
    `compare` is opened here, and its overlays stand beside those of `model`. Pictures larger than
    `tiles` px a side are taken in tiles of it (`TiledPredictor`) that overlap by `tile_overlap` px,
    None is a fifth.
    """
    with contextlib.ExitStack() as stack:
        opened = (
            open_model(model_ref(model))
            if server is None
            else open_server(server, str(model), token_file)
        )
        predictor = in_tiles(stack.enter_context(opened), tiles, tile_overlap)
        other = None
        if compare is not None:
            second = stack.enter_context(open_model(model_ref(compare)))
            other = in_tiles(second, tiles, tile_overlap)
        return predict_sources(
            predictor,
            sources,
            out,
            score,
            by_class=by_class,
            classes=classes,
            most=most,
            nms_iou=nms_iou,
            frames=frames,
            other=other,
            names=_captions(str(model), str(compare)),
            on_progress=on_progress,
        )


def predict_sources(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out: Path,
    score: float = 0.5,
    *,
    by_class: Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
    most: int | None = None,
    nms_iou: float | None = None,
    frames: int | None = None,
    other: Predictor | None = None,
    names: tuple[str, str] = ("", ""),
    on_progress: OnProgress | None = None,
) -> Written:
    """Predict every source, in the order given, and write overlays and results.

    Args:
        predictor: an opened model.
        sources: picture files, video files, folders, whose pictures are taken sorted by name, and
            what `named_sources` takes; `shapes.jpg`, where there is no such file, is the drawn
            picture that comes with maskrt.
        out: folder to write, made when it is not there; files of the same names are replaced.
        score: in [0, 1]; instances at or above it are drawn.
        by_class: other scores, by the class's name.
        classes: names of those that are in pictures and results; None is all.
        most: so many instances are drawn on a picture, the best; None is all, of proposals
            `MOST_PROPOSALS`.
        nms_iou: mask IoU in (0, 1] above which the better instance suppresses the other, in
            pictures and results alike; None leaves it to the predictor.
        frames: so many are taken of a video or camera, the first ones; None is all. A camera ends
            with Ctrl-C too.
        other: a model whose overlays are drawn at the right of the predictor's; it is in no result.
        names: of both, written above their overlays.
        on_progress: called after every picture and frame. A video is one step more than its
            frames, which are counted when it is opened: the share can fall there.

    Raises:
        InputError: `score`, `most`, `frames` or `nms_iou` is out of range, a class is unknown, a
            source is missing or of an unknown kind, `out` holds a source or cannot be written, or
            all sources are broken; where some are, `Written.broken` says so.
        SessionError: the backend failed; overlays already written stay.
    """
    wanted = Wanted(score, by_class or {}, classes, most, nms_iou)
    wanted.check(predictor.contract)
    if frames is not None:
        require_at_least_one(frames=frames)
    asked = Asked(predictor, wanted.of(predictor.contract), names[0])
    beside = None if other is None else Asked(other, wanted.of(other.contract), names[1])
    media, skipped = media_of(sources)
    jobs = plan_overlays(media, out)
    with ResultsFile(out / RESULTS_FILE) as results:
        run = Run(asked, beside, frames, Progress(on_progress, len(jobs)), results)
        run.all(jobs)
        if not results.pictures:
            raise all_broken(run.broken)
        results.write(categories_of(predictor.contract), run.no_overlay)
        pictures = results.pictures
    written = {job.overlay.name for job in jobs} | {RESULTS_FILE}
    others = sum(p.name not in written and not p.name.startswith(".") for p in out.iterdir())
    broken = tuple(map(str, run.broken))
    lost = run.losses.sentence
    return Written(
        *(pictures, run.drawn, str(results.path), broken, skipped, others, lost),
        origin=predictor.contract.origin,
        knows=what_it_knows(predictor.contract),
        best=run.best,
    )


def _captions(one: str, other: str) -> tuple[str, str]:
    """What tells two models apart in few letters: without their folders, where that does."""
    short = Path(one).name, Path(other).name
    return (one, other) if short[0] == short[1] else short


def media_of(sources: Sequence[str | Path]) -> tuple[list[Path | Camera], dict[str, int]]:
    """Every picture, video and camera, and what the folders hold beside pictures."""
    named = [
        source if isinstance(source, Camera) else named_picture(source)
        for source in named_sources(sources)
    ]
    if not named:
        source_files([])  # which says so
    media: list[Path | Camera] = []
    for source in named:
        media += [source] if isinstance(source, Camera) else source_files([source])
    return media, skipped_files([source for source in named if isinstance(source, Path)])


def all_broken(broken: Sequence[InputError | str]) -> InputError:
    """The first error in full, the others as a number."""
    others = f" {len(broken) - 1} more files are broken." if broken[1:] else ""
    return InputError(f"{broken[0]}{others}")
