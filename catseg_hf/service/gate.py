# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Who may ask the service, how many at a time, for how long, and what is counted of them."""

import asyncio
import base64
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

from catseg_hf.service.errors import ServiceError
from catseg_hf.service.settings import ServiceSettings


Result = TypeVar("Result")
# As nginx calls it: nobody gets this answer, but it is counted.
CALLER_LEFT = 499
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PHOTOS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What is counted of requests for photos, in Prometheus' format."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("catseg_requests", "Requests, by HTTP status.", ["status"], registry=registry)
        self.waiting = Gauge("catseg_requests_waiting", "Requests that are there now.", registry=registry)
        self.seconds = Histogram(
            "catseg_request_seconds", "Time of answered requests.", buckets=SECONDS, registry=registry
        )
        together = "Photos that went through the model with that of a request."
        self.together = Histogram("catseg_photos_together", together, buckets=PHOTOS, registry=registry)

    def response(self) -> Response:
        """All figures."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class Gate:
    """Lets those in who have a key, as many as may be there at a time, until it is closed; counts their requests."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.keys = settings.api_keys()
        self.num_inside = 0
        self.is_closed = False

    async def check_key(self, request: Request) -> None:
        """Refuses who has no key, where one is needed, in a time that does not tell how much of it was right."""
        given = _given_key(request).strip().encode()
        # All of them, so that the time does not tell which one it was.
        matches = [hmac.compare_digest(given, key) for key in self.keys]
        if self.keys and not any(matches):
            raise ServiceError(401, "This service needs a key: send the header `Authorization: Bearer KEY`.")

    async def in_time(self, work: Awaitable[Result]) -> Result:
        """Waits for something, and raises a `ServiceError` if it takes too long."""
        try:
            return await asyncio.wait_for(work, self.settings.timeout)
        except asyncio.TimeoutError as error:
            seconds = f"{self.settings.timeout:g} seconds"
            message = f"The request took more than {seconds}: try again, or send a smaller photo."
            raise ServiceError(503, message) from error

    async def answered(self, work: Callable[[], Awaitable[tuple[Result, int]]]) -> Result:
        """What `work` answers to a caller; it also says how many photos went through the model together.

        Raises a `ServiceError` if there is no place or it takes too long, and `ClientDisconnect` if the caller leaves.
        """
        start = time.perf_counter()
        status = 500
        try:
            answer, together = await self._let_in(work)
            status = 200
        except ServiceError as error:
            status = error.status
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            status = CALLER_LEFT
            raise
        finally:
            self.metrics.requests.labels(str(status)).inc()
        self.metrics.seconds.observe(time.perf_counter() - start)
        self.metrics.together.observe(together)
        return answer

    async def _let_in(self, work: Callable[[], Awaitable[Result]]) -> Result:
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

    async def close(self) -> None:
        """Lets nobody in any more, and waits for those who are inside."""
        self.is_closed = True
        while self.num_inside:
            await asyncio.sleep(0.05)


def _given_key(request: Request) -> str:
    """Of `Authorization: Bearer KEY`, `X-API-Key: KEY`, or basic auth, which Label Studio sends: its password."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(token, validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, or no text
            return ""
    return request.headers.get("x-api-key", "")
