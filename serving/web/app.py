"""The application: routes, errors as one sentence of JSON, and what surrounds each request."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from ... import __version__
from ...runtime.errors import MaskRTError
from ..batching.served import ServedModel
from ..protocol.routes import protocol_router
from ..refusals import RefusedError, refusal_of
from .answers import ModelCard, Problem
from .metrics import CONTENT_TYPE
from .observed import Observed
from .page_files import page_router
from .predicting import predict_router
from .service import Service

LOG = logging.getLogger("maskrt.serving")


def application(service: Service) -> ASGIApp:
    """What uvicorn calls; its lifespan starts and stops the service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="maskrt serve",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    for kind in (RefusedError, MaskRTError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _problem)
    app.include_router(predict_router(service))
    app.include_router(protocol_router(service))
    _add_looks(app, service)
    app.include_router(page_router())
    return Observed(app, service)


def _add_looks(app: FastAPI, service: Service) -> None:
    @app.get("/models")
    async def models() -> list[ModelCard]:
        """The models that are served, the first one first."""
        return [_card(model) for model in service.models.values()]

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _card(model: ServedModel) -> ModelCard:
    contract = model.contract
    return ModelCard(
        name=model.name,
        variant=contract.variant,
        task=contract.task,
        class_names=list(contract.class_names),
        canvases=list(model.predictor.canvases),
        batch=contract.batch,
    )


async def _problem(request: Request, err: Exception) -> Response:
    refusal = _refusal(request, err)
    if refusal.status >= 500 and not isinstance(err, RefusedError):
        LOG.error("%s", err, exc_info=err)
    content = Problem(error=str(refusal)).model_dump()
    return JSONResponse(content, refusal.status, headers=refusal.headers)


def _refusal(request: Request, err: Exception) -> RefusedError:
    if isinstance(err, RequestValidationError):
        first = err.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return RefusedError(400, f"{found}. Correct it; /openapi.json has all of them.")
    if isinstance(err, HTTPException):
        where = f"{request.method} {request.url.path[:80]}"
        return RefusedError(err.status_code, f"{where}: {err.detail}. See /openapi.json.")
    return refusal_of(err)
