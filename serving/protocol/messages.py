"""The protocol's JSON, typed.

Source: KServe, Open Inference Protocol v2, "Inference"; Triton's model configuration and binary
tensor data extensions.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt

Name = Annotated[str, Field(max_length=200)]
Shape = Annotated[list[NonNegativeInt], Field(max_length=8)]


class InputParameters(BaseModel):
    """Of an input tensor."""

    binary_data_size: NonNegativeInt | None = None


class TensorIn(BaseModel):
    """An input tensor; without `data` its bytes are behind the JSON."""

    name: Name
    shape: Shape
    datatype: Name
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class OutputParameters(BaseModel):
    """Of an output that is asked for."""

    binary_data: bool | None = None


class OutputAsked(BaseModel):
    """An output that is asked for."""

    name: Name
    parameters: OutputParameters = OutputParameters()


class RequestParameters(BaseModel):
    """Of a request."""

    binary_data_output: bool = False


class InferRequest(BaseModel):
    """A request for inference."""

    id: Annotated[str, Field(max_length=200)] | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[TensorIn], Field(max_length=8)]
    outputs: Annotated[list[OutputAsked], Field(max_length=100)] | None = None


class TensorInfo(BaseModel):
    """A tensor of a model: -1 is a side that requests choose."""

    name: str
    datatype: str
    shape: list[int]


class ModelInfo(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class TensorOut(BaseModel):
    """An output tensor."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | None = None
    data: list[Any] | None = None


class InferAnswer(BaseModel):
    """The answer to a request for inference."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[TensorOut]
