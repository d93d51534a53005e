"""A request's bytes to canvases, and outputs to an answer's bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from ...runtime.contract import Contract, Outputs
from ..batching.served import Canvases, ServedModel
from ..datatypes import DATATYPES, HEADER_LENGTH, bytes_of
from ..refusals import RefusedError
from .messages import InferAnswer, InferRequest, OutputAsked, TensorOut
from .tensors import Array, array_of

VERSION = "1"
JSON_BYTES_PER_BYTE = 16
"""That a body's JSON may take once read: a number of two characters becomes an object of 32."""
JSON_CHARACTERS = 5
"""Of a byte in JSON: "255, "."""
JSON_ROOM = 2**16
"""For names and shapes."""


@dataclass(frozen=True)
class Asked:
    """A request, read and checked."""

    request: InferRequest
    canvases: Canvases
    outputs: tuple[OutputAsked, ...]
    """In the order asked for; all of them where none was named."""


def json_length(header: str | None, body: bytes) -> int:
    """How many bytes of a body are its JSON.

    Raises:
        RefusedError: 400, the header states something else than a part of the body.
    """
    if header is None:
        return len(body)
    if not (header.isascii() and header.isdigit() and int(header) <= len(body)):
        raise RefusedError(
            400,
            f"{HEADER_LENGTH}: '{header[:20]}' of a body of {len(body)} bytes; expected how many "
            "of them are JSON. Correct it.",
        )
    return int(header)


def most_body_bytes(model: ServedModel) -> int:
    """Of the longest request that the model can take."""
    canvas = max(height * width for height, width in model.predictor.canvases)
    return JSON_CHARACTERS * 3 * canvas * model.contract.batch + JSON_ROOM


def asked(model: ServedModel, body: bytes, json_bytes: int) -> Asked:
    """Read a request.

    Raises:
        RefusedError: 400, not the protocol's JSON, or not the model's tensors.
    """
    try:
        request = InferRequest.model_validate_json(body[:json_bytes])
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise RefusedError(
            400,
            f"the request: {place}: {first['msg']}; expected the Open Inference Protocol's JSON. "
            "Correct it.",
        ) from err
    arrays, rest = {}, body[json_bytes:]
    dtypes = {spec.name: spec.dtype for spec in model.contract.inputs}
    for tensor in request.inputs:
        if tensor.name not in dtypes or tensor.name in arrays:
            raise _wrong_inputs(model, [tensor.name for tensor in request.inputs])
        arrays[tensor.name], rest = array_of(tensor, dtypes[tensor.name], rest)
    if len(arrays) != len(dtypes):
        raise _wrong_inputs(model, list(arrays))
    return Asked(request, _checked(model, arrays), _outputs(model.contract, request))


def _wrong_inputs(model: ServedModel, found: list[str]) -> RefusedError:
    names = ", ".join(spec.name for spec in model.contract.inputs)
    given = f"{model.name}: inputs '{', '.join(found)[:80]}'"
    return RefusedError(400, f"{given}; expected {names}, each once. Send these.")


def _checked(model: ServedModel, arrays: dict[str, Array]) -> Canvases:
    """The two inputs with fitting shapes: 1 to B pictures on one of the model's canvases."""
    images, sizes = arrays["images"], arrays["image_sizes"]
    batch, canvases = model.contract.batch, model.predictor.canvases
    fits = images.ndim == 4 and images.shape[3] == 3 and images.shape[1:3] in canvases
    if not fits or not 1 <= len(images) <= batch or sizes.shape != (len(images), 2):
        words = " or ".join(f"{height} x {width}" for height, width in canvases)
        raise RefusedError(
            400,
            f"{model.name}: images {images.shape} and image_sizes {sizes.shape}; expected 1 to "
            f"{batch} pictures on canvases of {words} and as many sizes. Ask /v2/models/NAME.",
        )
    if (sizes < 1).any() or (sizes > images.shape[1:3]).any():
        raise RefusedError(
            400,
            f"{model.name}: image_sizes from {sizes.min()} to {sizes.max()}; expected heights and "
            "widths from 1 to the canvas's. Send the part of each canvas that is a picture.",
        )
    return images, sizes


def _outputs(contract: Contract, request: InferRequest) -> tuple[OutputAsked, ...]:
    names = [spec.name for spec in contract.outputs]
    if not request.outputs:
        return tuple(OutputAsked(name=name) for name in names)
    for output in request.outputs:
        if output.name not in names:
            raise RefusedError(
                400,
                f"output '{output.name[:40]}': none; expected {', '.join(names)}. Ask for these.",
            )
    return tuple(request.outputs)


def answer(model: ServedModel, question: Asked, found: Outputs) -> tuple[bytes, int | None]:
    """The answer's body, and how many bytes of it are JSON; None where all are."""
    behind: list[bytes] = []
    outputs = []
    for output in question.outputs:
        array = np.asarray(found[output.name])
        binary = output.parameters.binary_data
        if binary is None:
            binary = question.request.parameters.binary_data_output
        outputs.append(_tensor(output.name, array, behind if binary else None))
    message = InferAnswer(
        model_name=model.name, model_version=VERSION, id=question.request.id, outputs=outputs
    )
    head = message.model_dump_json(exclude_none=True).encode()
    return head + b"".join(behind), len(head) if behind else None


def _tensor(name: str, array: Array, behind: list[bytes] | None) -> TensorOut:
    tensor = TensorOut(name=name, shape=[*array.shape], datatype=DATATYPES[array.dtype.name])
    if behind is None:
        if array.dtype == np.float16:
            raise RefusedError(400, f"{name}: FP16 has no form in JSON. Ask for binary_data.")
        tensor.data = array.ravel().tolist()
    else:
        behind.append(bytes_of(array))
        tensor.parameters = {"binary_data_size": len(behind[-1])}
    return tensor
