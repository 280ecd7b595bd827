# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service's HTTP interface, with whatever segments behind it; nothing of Ray."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import catseg_hf
from catseg_hf.formats import find_format
from catseg_hf.service.docs_page import add_docs_page
from catseg_hf.service.errors import CODES, ServiceError
from catseg_hf.service.metrics import Metrics
from catseg_hf.service.requests import SegmentForm, SegmentJson, SegmentRequest, read_request
from catseg_hf.service.settings import ServiceSettings


Result = TypeVar("Result")
# As nginx calls it: nobody gets this answer, but it is counted.
CALLER_LEFT = 499


class Backend(Protocol):
    """What segments."""

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        """The body of the answer, and how many photos went through the model together with this one."""

    async def describe(self) -> dict[str, Any]:
        """What the model is."""

    async def is_ready(self) -> bool:
        """Whether a model is there."""


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
ERRORS = {status: {"model": ErrorAnswer} for status in (400, 413, 415, 422, 429, 503)}


class Gate:
    """Lets requests in, as many as may be there at a time, until it is closed.

    Args:
        settings ([`ServiceSettings`]): How many, and for how long.
        metrics ([`Metrics`]): Is told.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.num_inside = 0
        self.is_closed = False

    async def let_in(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Works on a request.

        Args:
            work (`Callable[[], Awaitable]`): What to do.

        Returns:
            What it returns.

        Raises:
            ServiceError: If there is no place, or it took too long.
        """
        if self.is_closed:
            raise ServiceError(503, "The service is about to end: ask another one.")
        if self.num_inside >= self.settings.max_waiting:
            raise ServiceError(429, f"{self.num_inside} requests wait already: try again in a few seconds.")
        self.num_inside += 1
        self.metrics.waiting.set(self.num_inside)
        try:
            return await self.in_time(work())
        finally:
            self.num_inside -= 1
            self.metrics.waiting.set(self.num_inside)

    async def in_time(self, work: Awaitable[Result]) -> Result:
        """Waits for something, but not for ever.

        Args:
            work (`Awaitable`): For what.

        Returns:
            What it returns.

        Raises:
            ServiceError: If it took too long.
        """
        try:
            return await asyncio.wait_for(work, self.settings.timeout)
        except asyncio.TimeoutError as error:
            message = (
                f"The request took more than {self.settings.timeout:g} seconds: try again, or send a smaller photo."
            )
            raise ServiceError(503, message) from error

    async def close(self) -> None:
        """Lets nobody in any more, and waits for those who are inside."""
        self.is_closed = True
        while self.num_inside:
            await asyncio.sleep(0.05)


def check_key(request: Request, keys: Sequence[bytes]) -> None:
    """Refuses who has no key, in a time that does not tell how much of it was right.

    Args:
        request (`fastapi.Request`): Its header `Authorization: Bearer KEY`, or `X-API-Key: KEY`.
        keys (`Sequence[bytes]`): Those that are known; without any, everybody may ask.

    Raises:
        ServiceError: If it is needed and not there.
    """
    if not keys:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    # All of them, so that the time does not tell which one it was.
    matches = [hmac.compare_digest(given.strip().encode(), key) for key in keys]
    if not any(matches):
        raise ServiceError(401, "This service needs a key: send the header `Authorization: Bearer KEY`.")


def make_api(settings: ServiceSettings, backend: Backend, gate: Gate) -> FastAPI:
    """The interface.

    Args:
        settings ([`ServiceSettings`]): Limits and keys.
        backend ([`Backend`]): What segments.
        gate ([`Gate`]): Counts requests.

    Returns:
        `fastapi.FastAPI`
    """
    keys = settings.api_keys()
    metrics = gate.metrics
    api = FastAPI(
        title="CAT-Seg",
        version=catseg_hf.__version__,
        description="Segments photos into classes that you name in your own words.",
        docs_url=None,
        redoc_url=None,
    )

    _add_errors(api)
    add_docs_page(api)
    _add_state(api, backend, gate)

    @api.post(
        "/v1/segment",
        summary="Segment a photo",
        response_model=SegmentAnswer,
        responses={200: {"content": {"image/png": {}}}, **ERRORS},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def segment(request: Request) -> Response:
        check_key(request, keys)
        start = time.perf_counter()
        status = 500

        async def work() -> tuple[bytes, int, str]:
            asked = await read_request(request, settings)
            return *await backend.segment(asked), find_format(asked.format).media_type

        try:
            body, together, media_type = await gate.let_in(work)
            status = 200
        except ServiceError as error:
            status = error.status
            raise
        except ClientDisconnect:
            status = CALLER_LEFT
            return Response(status_code=status)
        except asyncio.CancelledError:
            status = CALLER_LEFT
            raise
        finally:
            metrics.requests.labels(str(status)).inc()
        metrics.seconds.observe(time.perf_counter() - start)
        metrics.together.observe(together)
        return Response(body, media_type=media_type)

    @api.get("/v1/model", summary="The model, and the limits of requests", responses={503: ERRORS[503]})
    async def model(request: Request) -> dict[str, Any]:
        check_key(request, keys)
        return {**await gate.in_time(backend.describe()), "limits": settings.limits}

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
        known = "POST /v1/segment, GET /v1/model, /healthz, /readyz, /metrics, /docs"
        return JSONResponse(ServiceError(status, f"{error.detail}: there are {known}.").content, error.status_code)

    @api.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(ServiceError(500, "The service failed at this request; its log says where.").content, 500)


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


__all__ = ["Backend", "Gate", "check_key", "make_api"]
