"""What each verb does, as functions with typed parameters and results.

    from maskrt.workflows import bench_models, load_data

These bring the folders together. Nothing here parses a command line or prints; a notebook calls the
same functions that `cli` calls. Each is imported when it is first asked for, so that a command
loads what it needs and no more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engines.builder import build_engine
    from ..engines.bundle import build_bundle
    from ..engines.compatibility import Compatibility
    from ..engines.doctor import diagnose
    from ..eval.datasets.source import DataSource
    from ..serving.page.page import write_page
    from ..serving.settings import ServeSettings
    from ..train.weights.import_weights import import_checkpoint
    from .data import check_data, draw_data, load_data, show_data
    from .demo import run_demo
    from .deployment import export_checkpoint
    from .floors import floors_of_file
    from .inspection import inspect_file
    from .latency.bench import bench_models
    from .measure import evaluate
    from .nvidia_servers import deepstream_folder, triton_repository
    from .open import load
    from .operators.bench import OPERATOR_OPTIONS, bench_operators
    from .predicting.wanted import Wanted
    from .prediction import predict_files
    from .search.search import bisect_precision, search_precision
    from .serving.service import serve_models
    from .sharding.evaluation import evaluate_shard, merge_evaluation
    from .sharding.manifest import Shard
    from .sharding.on_ray import RayOptions, evaluate_on_ray, predict_on_ray
    from .sharding.prediction import merge_predictions, plan_prediction, predict_shard
    from .sweep.sweep import run_sweep
    from .training import new_checkpoint, train_recipe

__all__ = [
    "OPERATOR_OPTIONS",
    "Compatibility",
    "DataSource",
    "RayOptions",
    "ServeSettings",
    "Shard",
    "Wanted",
    "bench_models",
    "bench_operators",
    "bisect_precision",
    "build_bundle",
    "build_engine",
    "check_data",
    "deepstream_folder",
    "diagnose",
    "draw_data",
    "evaluate",
    "evaluate_on_ray",
    "evaluate_shard",
    "export_checkpoint",
    "floors_of_file",
    "import_checkpoint",
    "inspect_file",
    "load",
    "load_data",
    "merge_evaluation",
    "merge_predictions",
    "new_checkpoint",
    "plan_prediction",
    "predict_files",
    "predict_on_ray",
    "predict_shard",
    "run_demo",
    "run_sweep",
    "search_precision",
    "serve_models",
    "show_data",
    "train_recipe",
    "triton_repository",
    "write_page",
]

_MODULES = {
    "OPERATOR_OPTIONS": ".operators.bench",
    "Compatibility": "..engines.compatibility",
    "DataSource": "..eval.datasets.source",
    "RayOptions": ".sharding.on_ray",
    "ServeSettings": "..serving.settings",
    "Shard": ".sharding.manifest",
    "Wanted": ".predicting.wanted",
    "bench_models": ".latency.bench",
    "bench_operators": ".operators.bench",
    "bisect_precision": ".search.search",
    "build_bundle": "..engines.bundle",
    "build_engine": "..engines.builder",
    "check_data": ".data",
    "deepstream_folder": ".nvidia_servers",
    "diagnose": "..engines.doctor",
    "draw_data": ".data",
    "evaluate": ".measure",
    "evaluate_on_ray": ".sharding.on_ray",
    "evaluate_shard": ".sharding.evaluation",
    "export_checkpoint": ".deployment",
    "floors_of_file": ".floors",
    "import_checkpoint": "..train.weights.import_weights",
    "inspect_file": ".inspection",
    "load": ".open",
    "load_data": ".data",
    "merge_evaluation": ".sharding.evaluation",
    "merge_predictions": ".sharding.prediction",
    "new_checkpoint": ".training",
    "plan_prediction": ".sharding.prediction",
    "predict_files": ".prediction",
    "predict_on_ray": ".sharding.on_ray",
    "predict_shard": ".sharding.prediction",
    "run_demo": ".demo",
    "run_sweep": ".sweep.sweep",
    "search_precision": ".search.search",
    "serve_models": ".serving.service",
    "show_data": ".data",
    "train_recipe": ".training",
    "triton_repository": ".nvidia_servers",
    "write_page": "..serving.page.page",
}
"""Where each is defined."""

_TRAINING = frozenset(
    {
        *("bisect_precision", "export_checkpoint", "import_checkpoint", "new_checkpoint"),
        *("run_demo", "run_sweep", "search_precision", "train_recipe"),
    }
)
"""Those that train or export, which needs a newer Python than the rest."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ..runtime.packages import packages_named, require_training_python

    if name in _TRAINING:
        require_training_python()
    with packages_named(name):
        return getattr(import_module(_MODULES[name], __name__), name)
