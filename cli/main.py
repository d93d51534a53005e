"""The front door: `maskrt VERB ...`.

Only argparse is imported here, so that `--help` answers at once; `verbs.py` does the work and
imports a folder when its verb is used. Exit codes: 0 done, 1 an accuracy gate failed, 2 bad usage
or bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNTIMES = ("tensorrt-rtx", "tensorrt")
MODEL_HELP = "checkpoint, .onnx or .engine; FILE@SESSION names what runs it, e.g. x.onnx@openvino"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = _parse(argv)
    from ..runtime.errors import MaskRTError
    from ..workflows.verbs import VERBS

    try:
        result: dict[str, Any] = VERBS[arguments.verb](arguments)
    except MaskRTError as err:
        print(f"maskrt {arguments.verb}: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        print(f"maskrt {arguments.verb}: interrupted; nothing half-written stays.", file=sys.stderr)
        return 130
    if arguments.json:
        import json

        print(json.dumps(result, sort_keys=True))
    return int(result.get("exit_code", 0))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; `key=value` overrides may also follow the options, where argparse loses them."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    late = [word for word in rest if "=" in word and not word.startswith("-")]
    if rest and (late != rest or "overrides" not in arguments):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if late:
        arguments.overrides = [*arguments.overrides, *late]
    return arguments


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="maskrt",
        description=(__package__ or "maskrt") + ": "
        "train, export, build, prove and time LSC Mask R-CNN and FastMask on ONNX and TensorRT.",
    )
    from .. import __version__

    top.add_argument("--version", action="version", version=f"maskrt {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (
        _demo, _data, _new, _import, _train, _export,
        _build, _predict, _eval, _bench, _bisect, _inspect, _doctor,
    ):  # fmt: skip
        add(verbs)
    return top


def _model(text: str) -> Any:
    """A MODEL argument: the file, and the session named behind an @."""
    from ..runtime.sessions.open import model_from_text

    return model_from_text(text)


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    """One subcommand with the option that all have."""
    sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    sub.add_argument("--json", action="store_true", help="one JSON object as the last stdout line")
    return sub


def _demo(verbs: Any) -> None:
    sub = _verb(verbs, "demo", "the whole chain on this machine with the shipped checkpoints")
    sub.add_argument("--out", type=Path, default=Path("out/demo"), help="folder (default out/demo)")
    sub.add_argument("--images", type=int, default=60, help="pictures evaluated (default 60)")


def _data(verbs: Any) -> None:
    sub = _verb(verbs, "data", "draw a COCO-format data set of textured shapes")
    sub.add_argument("kind", choices=["shapes"])
    sub.add_argument("--out", type=Path, required=True, help="folder to write")
    sub.add_argument("--images", type=int, default=2000, help="training pictures (default 2000)")
    sub.add_argument("--val-images", type=int, default=200, help="val pictures (default 200)")
    sub.add_argument("--seed", type=int, default=0)


def _recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", help="shipped recipe name or a YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. solver.lr=0.01")
    sub.add_argument("--backbone", type=Path, help="checkpoint whose backbone weights are taken")


def _new(verbs: Any) -> None:
    sub = _verb(verbs, "new", "write an untrained checkpoint")
    _recipe(sub)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".safetensors to write")


def _import(verbs: Any) -> None:
    sub = _verb(verbs, "import", "turn other people's trained weights into a checkpoint")
    sub.add_argument("file", type=Path, help="e.g. model_final_4ce675.pkl")
    sub.add_argument("--format", choices=["detectron2", "torchvision", "caffe"], required=True)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".safetensors to write")


def _train(verbs: Any) -> None:
    sub = _verb(verbs, "train", "train a recipe on a COCO-format data set")
    _recipe(sub)
    sub.add_argument("--data", type=Path, required=True, help="folder with annotations/ and train/")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    sub.add_argument("--resume", action="store_true", help="continue the run in --out")
    sub.add_argument("--workers", type=int, default=1, help="decoding processes (default 1)")


def _export(verbs: Any) -> None:
    sub = _verb(verbs, "export", "checkpoint -> verified ONNX")
    sub.add_argument("checkpoint", type=Path)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".onnx to write")
    sub.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp32")
    sub.add_argument(
        "--canvas", type=_canvas, metavar="HxW", help="multiples of 16 px, FastMask of 4"
    )
    sub.add_argument("--batch", type=int, default=1)
    sub.add_argument("--proposals", type=int, help="proposal slots (default: the recipe's)")
    sub.add_argument("--detections", type=int, help="detection slots (default: the recipe's)")
    sub.add_argument(
        "--rules",
        default="even_bins",
        metavar="NAME,NAME",
        help="exact rewrites of the graph: all, none, or some of export/rules.py (even_bins)",
    )
    sub.add_argument("--keep-fp32", type=Path, metavar="FILE", help="precision file of bisect")
    sub.add_argument(
        "--calibrate",
        type=Path,
        metavar="DATA",
        help="int8: COCO-format folder whose train pictures give the ranges of activations",
    )
    sub.add_argument(
        "--calibration-images",
        type=int,
        default=64,
        metavar="N",
        help="int8: only the first so many (default 64)",
    )


def _build(verbs: Any) -> None:
    sub = _verb(verbs, "build", "ONNX -> TensorRT engine and its .engine.json")
    sub.add_argument("onnx", type=Path)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".engine to write")
    sub.add_argument("--runtime", choices=RUNTIMES, default="tensorrt-rtx")
    sub.add_argument("--operators", choices=["auto", "plugin", "portable"], default="auto")
    sub.add_argument("--workspace-bytes", type=int, help="builder workspace limit")
    sub.add_argument("--timing-cache", type=Path, help="read and updated where the flavour has one")
    sub.add_argument("--min-fp16", type=float, help="fail below this share of MACs in FP16 (0..1)")
    sub.add_argument("--tf32", action="store_true", help="allow TF32 in FP32 layers")


def _predict(verbs: Any) -> None:
    sub = _verb(verbs, "predict", "overlays and COCO results for pictures, folders or video")
    sub.add_argument("model", type=_model, help=MODEL_HELP)
    sub.add_argument("sources", type=Path, nargs="+", metavar="SOURCE")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--score", type=float, default=0.5, help="drawn from this score on (0.5)")
    sub.add_argument("--nms-iou", type=float, help="drop masks that overlap a better one above it")


def _eval(verbs: Any) -> None:
    sub = _verb(verbs, "eval", "COCO AP or AR of a model; with --against, the parity gate")
    sub.add_argument("model", type=_model, help=MODEL_HELP)
    _val_data(sub, required=True)
    sub.add_argument(
        "--against", type=_model, help="reference model: exit code 1 when a gate fails"
    )


def _bench(verbs: Any) -> None:
    sub = _verb(verbs, "bench", "latency of several models, interleaved, beside their accuracy")
    sub.add_argument("models", type=_model, nargs="*", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument(
        "--operators", action="store_true", help="time the custom operators instead, without MODEL"
    )
    _val_data(sub, required=False)
    sub.add_argument("--samples", type=int, help="calls per model (default 200; of operators 40)")
    sub.add_argument("--seconds", type=float, help="time per model instead of --samples")
    sub.add_argument("--streams", type=int, help="also so many threads that share each model")
    sub.add_argument(
        "--batch",
        type=_batches,
        metavar="N,N",
        help="batch sizes, e.g. 1,2,4,8: checkpoints are exported at each (ONNX FP32)",
    )
    sub.add_argument("--against", type=Path, metavar="JSON", help="earlier bench to compare with")
    sub.add_argument(
        "--allow", type=float, help="exit code 1 above this ratio for certain (default 1.05)"
    )
    sub.add_argument("--html", type=Path, help="also write this report (and its .md and .json)")


def _bisect(verbs: Any) -> None:
    sub = _verb(
        verbs, "bisect", "which node groups must stay FP32, judged on 20 pictures or --images"
    )
    sub.add_argument("checkpoint", type=Path)
    _val_data(sub, required=True)
    sub.set_defaults(images=20)
    sub.add_argument(
        "--metric",
        choices=["instances", "ap"],
        default="instances",
        help="matched instances (default), or change of AP; of proposals, AR",
    )
    sub.add_argument(
        "--gate",
        type=float,
        help="least matched share (default 0.98), or greatest change in points (0.3)",
    )
    sub.add_argument("-o", "--out", type=Path, required=True, help=".json for export --keep-fp32")


def _val_data(sub: argparse.ArgumentParser, *, required: bool) -> None:
    sub.add_argument("--data", type=Path, required=required, help="COCO-format folder")
    sub.add_argument("--split", choices=["val", "train"], default="val")
    sub.add_argument("--images", type=int, help="only the first so many pictures")


def _inspect(verbs: Any) -> None:
    sub = _verb(verbs, "inspect", "what an artefact is: contract, parameters, MACs, layers")
    sub.add_argument("file", type=Path)


def _doctor(verbs: Any) -> None:
    _verb(verbs, "doctor", "what this machine can run, and the pip line for what it cannot")


def _batches(text: str) -> tuple[int, ...]:
    """Batch sizes behind commas, each once and ascending."""
    if not all(part.isdigit() and int(part) > 0 for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not batch sizes like 1,2,4,8")
    return tuple(sorted({int(part) for part in text.split(",")}))


def _canvas(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not HxW like 800x1344")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
