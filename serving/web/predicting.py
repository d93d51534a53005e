"""`POST /predict`: a picture in, typed JSON or an overlay out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...runtime.pictures.preprocess import Image
from ...runtime.results.instances import Instances
from ..intake.bodies import picture_in, read_body
from ..intake.budget import Lease
from ..intake.pictures import DECODED_BYTES, DECODING_BYTES, decoded, stated_px
from .answers import Masks, Prediction, Problem, overlay_png, prediction_json
from .service import Service, unless_gone

PNG, JSON = "image/png", "application/json"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": _BINARY["schema"]}}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "A picture file's bytes, or a form with one file.",
        "content": {"image/*": _BINARY, "multipart/form-data": _FORM},
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "Not a whole picture, or a wrong parameter.",
        401: "The token is missing or wrong.",
        404: "No such model.",
        408: "The body did not come in time.",
        413: "Too many bytes or pixels.",
        415: "No picture of a known format.",
        500: "The model failed on this picture.",
        503: "The queue is full; Retry-After says when to try again.",
    }.items()
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Prediction, "content": {PNG: _BINARY}, "description": "By Accept."},
    **PROBLEMS,
}


def predict_router(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/predict", responses=ANSWERS, openapi_extra=BODY)
    async def predict(
        request: Request,
        model: Annotated[
            str | None, Query(description="its name; the first where left away")
        ] = None,
        score: Annotated[float, Query(ge=0, le=1, description="the least of an instance")] = 0.5,
        most: Annotated[int | None, Query(ge=0, description="instances, the best")] = None,
        nms_iou: Annotated[
            float | None,
            Query(gt=0, le=1, description="mask IoU above which the better instance wins"),
        ] = None,
        masks: Annotated[Masks, Query(description="how JSON has masks")] = "rle",
    ) -> Response:
        """Instances of one picture: JSON, or an overlay where `Accept` prefers image/png."""
        served = service.model(model)

        def answer(found: Instances, image: Image) -> Response:
            if nms_iou is not None:
                found = found.suppressed(nms_iou)
            found = found.above(score)
            if most is not None:
                found = found.best(most)
            if wants_png(request.headers.get("accept", "")):
                return Response(overlay_png(found, image), media_type=PNG)
            return Response(prediction_json(served.name, found, masks), media_type=JSON)

        with service.budget.lease() as lease:
            served.batcher.check_room(served.pictures)
            image = await _picture(service, request, lease)
            found = await unless_gone(request, served.predict(image))
            return await service.in_thread(answer, found, image)

    return router


async def _picture(service: Service, request: Request, lease: Lease) -> Image:
    settings = service.settings
    body = await read_body(request, settings.most_bytes, settings.receive_s, lease)
    data = await picture_in(request, body)
    pixels = stated_px(data, settings.most_px)
    lease.resize(len(body) + DECODING_BYTES * pixels)
    image = await service.in_thread(decoded, data, settings.most_px)
    lease.resize(DECODED_BYTES * pixels)
    return image


def wants_png(accept: str) -> bool:
    """Whether an Accept header names image/png, and no JSON before it."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    known = [name for name in named if name in {PNG, "image/*", JSON, "application/*", "*/*"}]
    return bool(known) and known[0] in {PNG, "image/*"}
