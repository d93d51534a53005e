"""What a model takes and gives, in the protocol's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...runtime.contract import METADATA_KEY, TensorSpec
from ..batching.served import ServedModel
from ..datatypes import DATATYPES
from .inference import VERSION
from .messages import ModelInfo, TensorInfo

ANY_SIDE = -1


def info_of(model: ServedModel) -> ModelInfo:
    """A model's metadata; its platform is what runs it."""
    return ModelInfo(
        name=model.name,
        versions=[VERSION],
        platform=str(model.predictor.session.backend),
        inputs=_tensors(model, model.contract.inputs),
        outputs=_tensors(model, model.contract.outputs),
    )


def _tensors(model: ServedModel, specs: Sequence[TensorSpec]) -> list[TensorInfo]:
    """With the graph's own shapes; where a bundle has several canvases requests choose theirs."""
    several = len(model.predictor.canvases) > 1
    return [
        TensorInfo(
            name=spec.name,
            datatype=DATATYPES[spec.dtype],
            shape=[spec.shape[0], ANY_SIDE, ANY_SIDE, spec.shape[3]]
            if several and spec.name == "images"
            else [*spec.shape],
        )
        for spec in specs
    ]


def config_of(model: ServedModel) -> dict[str, Any]:
    """A model's configuration: names, types, dimensions with the batch, and its contract as text.

    Source: Triton, "Model Configuration Extension" and model_config.proto.
    """
    info = info_of(model)

    def described(tensors: Sequence[TensorInfo]) -> list[dict[str, Any]]:
        return [
            {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": tensor.shape}
            for tensor in tensors
        ]

    return {
        "name": info.name,
        "platform": info.platform,
        "max_batch_size": 0,
        "input": described(info.inputs),
        "output": described(info.outputs),
        "parameters": {METADATA_KEY: {"string_value": model.contract.to_json()}},
    }
