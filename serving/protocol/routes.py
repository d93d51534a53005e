"""The protocol's addresses under /v2."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from ... import __version__
from ..batching.served import ServedModel
from ..datatypes import HEADER_LENGTH
from ..intake.bodies import read_body
from ..refusals import RefusedError
from ..web.answers import Problem
from ..web.service import Service, unless_gone
from .inference import (
    JSON_BYTES_PER_BYTE,
    VERSION,
    answer,
    asked,
    json_length,
    most_body_bytes,
)
from .messages import InferAnswer, InferRequest, ModelInfo
from .metadata import config_of, info_of

EXTENSIONS = ["binary_tensor_data", "model_configuration"]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": InferRequest.model_json_schema()}},
    }
}
PROBLEM: dict[int | str, dict[str, Any]] = {"default": {"model": Problem}}


def protocol_router(service: Service) -> APIRouter:
    """All of its routes."""
    router = APIRouter(prefix="/v2", responses=PROBLEM)

    @router.get("")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "maskrt", "version": __version__, "extensions": EXTENSIONS}

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        """Whether all models can be asked."""
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    def of_name(name: str) -> ServedModel:
        return service.model(name)

    def of_version(name: str, version: str) -> ServedModel:
        if version != VERSION:
            raise RefusedError(
                404, f"version '{version[:20]}': none; expected {VERSION}. Leave it away."
            )
        return service.model(name)

    _add_model_routes(router, "/models/{name}", Depends(of_name), service)
    _add_model_routes(router, "/models/{name}/versions/{version}", Depends(of_version), service)
    return router


def _add_model_routes(router: APIRouter, prefix: str, which: Any, service: Service) -> None:
    """Those of one model; `which` is the dependency that finds it."""

    @router.get(prefix)
    async def metadata(model: ServedModel = which) -> ModelInfo:
        """What a model takes and gives."""
        return info_of(model)

    @router.get(prefix + "/config")
    async def config(model: ServedModel = which) -> dict[str, Any]:
        """A model's configuration as Triton states it, its contract among the parameters."""
        return config_of(model)

    @router.get(prefix + "/ready")
    async def model_ready(model: ServedModel = which) -> JSONResponse:
        """Whether a model can be asked."""
        content = {"name": model.name, "ready": service.ready}
        return JSONResponse(content, 200 if service.ready else 503)

    @router.post(prefix + "/infer", responses={200: {"model": InferAnswer}}, openapi_extra=BODY)
    async def infer(request: Request, model: ServedModel = which) -> Response:
        """Canvases and valid sizes in, the graph's outputs out; JSON or bytes behind it."""
        settings = service.settings
        most_bytes = max(settings.most_bytes, most_body_bytes(model))
        with service.budget.lease() as lease:
            model.batcher.check_room(next(iter(model.tensors.values())))
            body = await read_body(request, most_bytes, settings.receive_s, lease)
            length = json_length(request.headers.get(HEADER_LENGTH), body)
            lease.resize(len(body) + JSON_BYTES_PER_BYTE * length)
            question = await service.in_thread(asked, model, body, length)
            lease.resize(len(body))
            found = await unless_gone(request, model.infer(question.canvases))
            content, length_out = await service.in_thread(answer, model, question, found)
        if length_out is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(length_out)}
        return Response(content, media_type="application/octet-stream", headers=headers)
