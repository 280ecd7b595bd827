# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""How many requests a service works on at a time, for how long, and what is counted of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect

from catseg_hf.service.errors import ServiceError
from catseg_hf.service.metrics import Metrics
from catseg_hf.service.settings import ServiceSettings


Result = TypeVar("Result")
# As nginx calls it: nobody gets this answer, but it is counted.
CALLER_LEFT = 499


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

    async def answered(self, work: Callable[[], Awaitable[tuple[Result, int]]]) -> Result:
        """Works on the photo of a caller, and counts it.

        Args:
            work (`Callable[[], Awaitable[tuple[Any, int]]]`):
                What to do; returns the answer, and how many photos went through the model together.

        Returns:
            The answer.

        Raises:
            ServiceError: If there is none.
            starlette.requests.ClientDisconnect: If the caller went away.
        """
        start = time.perf_counter()
        status = 500
        try:
            answer, together = await self.let_in(work)
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

    async def close(self) -> None:
        """Lets nobody in any more, and waits for those who are inside."""
        self.is_closed = True
        while self.num_inside:
            await asyncio.sleep(0.05)


__all__ = ["CALLER_LEFT", "Gate"]
