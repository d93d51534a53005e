"""`config.pbtxt`: what Triton must know of a model, as protobuf text.

The graph takes whole batches of one size, with normalization and suppression inside, so that
`max_batch_size` is 0, dimensions hold the batch and no ensemble is needed around it. The contract
is among the parameters: a client asks /v2/models/NAME/config for it and needs no file.

Source: triton-inference-server/common, protobuf/model_config.proto, `ModelConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...runtime.contract import METADATA_KEY, Contract, TensorSpec
from ..datatypes import DATATYPES

PLATFORMS = {".onnx": "onnxruntime_onnx", ".engine": "tensorrt_plan"}
"""By the suffix of what runs."""


def config_text(name: str, platform: str, contract: Contract) -> str:
    """The whole file.

    Args:
        name: of the model, which is its folder's.
        platform: one of `PLATFORMS`.
        contract: of the file that runs.
    """
    return (
        f"name: {_quoted(name)}\n"
        f"platform: {_quoted(platform)}\n"
        "max_batch_size: 0\n"
        f"input [\n{_tensors(contract.inputs)}\n]\n"
        f"output [\n{_tensors(contract.outputs)}\n]\n"
        "parameters {\n"
        f"  key: {_quoted(METADATA_KEY)}\n"
        f"  value {{ string_value: {_quoted(contract.to_json())} }}\n"
        "}\n"
    )


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ",\n".join(
        f"  {{ name: {_quoted(spec.name)} data_type: TYPE_{DATATYPES[spec.dtype]} "
        f"dims: [ {', '.join(map(str, spec.shape))} ] }}"
        for spec in specs
    )


def _quoted(text: str) -> str:
    """A string literal; contracts are ASCII, and other bytes stay UTF-8."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
