# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service's HTTP interface, with whatever segments behind it; nothing of Ray."""

from importlib.resources import files
from typing import Any

import fastapi_swagger
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import catseg_hf
from catseg_hf.service.errors import CODES, ServiceError
from catseg_hf.service.gate import CALLER_LEFT, Gate
from catseg_hf.service.label_studio import add_label_studio
from catseg_hf.service.requests import SegmentForm, SegmentJson, read_request
from catseg_hf.service.segment_request import Backend, SegmentRequest
from catseg_hf.service.settings import ServiceSettings


class Mask(BaseModel):
    """A mask as COCO's run lengths, which `pycocotools.mask.decode` reads."""

    size: list[int] = Field(description="Height and width.")
    counts: str


class Segment(BaseModel):
    """A class that is in the photo."""

    label: str
    score: float = Field(description="Mean over its pixels, 0 to 1.")
    area: int = Field(description="Its pixels.")
    box: list[int] = Field(description="Left, top, right, bottom; right and bottom are the first outside.")
    mask: Mask


class SegmentAnswer(BaseModel):
    """A segmented photo."""

    width: int
    height: int
    model: str
    segments: list[Segment]


class Error(BaseModel):
    """What was wrong."""

    code: str = Field(examples=list(CODES.values()))
    message: str


class ErrorAnswer(BaseModel):
    """An answer that is none."""

    error: Error


REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": SegmentForm.model_json_schema()},
        "application/json": {"schema": SegmentJson.model_json_schema()},
    },
}
SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"
MEDIA_TYPES = {SCRIPT: "text/javascript", STYLE: "text/css", ICON: "image/png"}
ERRORS = {status: {"model": ErrorAnswer} for status in (400, 401, 413, 415, 422, 429, 503)}


def make_api(settings: ServiceSettings, backend: Backend, gate: Gate) -> FastAPI:
    """The interface over what segments, with a gate that knows the keys and counts requests."""
    api = FastAPI(
        title="CAT-Seg",
        version=catseg_hf.__version__,
        description="Segments photos into classes that you name in your own words.",
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(api)
    _add_docs_page(api)
    _add_state(api, backend, gate)
    guarded = APIRouter(dependencies=[Depends(gate.check_key)])
    add_label_studio(guarded, settings, backend, gate)

    @guarded.post(
        "/v1/segment",
        summary="Segment a photo",
        response_model=SegmentAnswer,
        responses={200: {"content": {"image/png": {}}}, **ERRORS},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def segment(request: Request) -> Response:
        async def work() -> tuple[tuple[bytes, SegmentRequest], int]:
            asked = await read_request(request, settings)
            body, together = await backend.segment(asked)
            return (body, asked), together

        try:
            body, asked = await gate.answered(work)
        except ClientDisconnect:
            return Response(status_code=CALLER_LEFT)
        return Response(body, media_type=asked.media_type)

    @guarded.get(
        "/v1/model",
        summary="The model, and the limits of requests",
        responses={status: ERRORS[status] for status in (401, 503)},
    )
    async def model() -> dict[str, Any]:
        return {**await gate.in_time(backend.describe()), "limits": settings.limits}

    api.include_router(guarded)
    return api


def _add_errors(api: FastAPI) -> None:
    """All errors in one form, and none that shows anything of the machine."""

    @api.exception_handler(ServiceError)
    async def refuse(request: Request, error: ServiceError) -> JSONResponse:
        headers = {"Retry-After": "2"} if error.status in (429, 503) else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if error.status == 413:
            headers["Connection"] = "close"  # the rest of the body is not read
        return JSONResponse(error.content, error.status, headers)

    @api.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code if error.status_code in CODES else 400
        known = "POST /v1/segment, GET /v1/model, /healthz, /readyz, /metrics, /docs, and Label Studio's"
        return JSONResponse(ServiceError(status, f"{error.detail}: there are {known}.").content, error.status_code)

    @api.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(ServiceError(500, "The service failed at this request; its log says where.").content, 500)


def _add_docs_page(api: FastAPI) -> None:
    """Swagger's page, which asks no other server for anything."""

    @api.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        # Relative, for services behind a path of another server.
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url=f"docs/{SCRIPT}",
            swagger_css_url=f"docs/{STYLE}",
            swagger_favicon_url=f"docs/{ICON}",
        )

    @api.get("/docs/{name}", include_in_schema=False)
    def docs_file(name: str) -> Response:
        if name not in MEDIA_TYPES:
            raise HTTPException(404, "Not Found")
        content = (files(fastapi_swagger) / "resources" / name).read_bytes()
        return Response(content, media_type=MEDIA_TYPES[name])


def _add_state(api: FastAPI, backend: Backend, gate: Gate) -> None:
    """What those who run the service ask; it tells nothing of requests, and needs no key."""

    @api.get("/healthz", summary="Whether the service runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/readyz", summary="Whether it can segment", responses={503: ERRORS[503]})
    async def readyz() -> dict[str, str]:
        if gate.is_closed or not await backend.is_ready():
            raise ServiceError(503, "No model is ready yet.")
        return {"status": "ok"}

    @api.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        return gate.metrics.response()
