# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Figures of a service, in Prometheus' format."""

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest


SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PHOTOS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """What is counted of requests to `/v1/segment`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("catseg_requests", "Requests, by HTTP status.", ["status"], registry=self.registry)
        self.waiting = Gauge("catseg_requests_waiting", "Requests that are there now.", registry=self.registry)
        self.seconds = Histogram(
            "catseg_request_seconds", "Time of answered requests.", buckets=SECONDS, registry=self.registry
        )
        self.together = Histogram(
            "catseg_photos_together",
            "Photos that went through the model with that of a request.",
            buckets=PHOTOS,
            registry=self.registry,
        )

    def response(self) -> Response:
        """All figures.

        Returns:
            `fastapi.Response`
        """
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


__all__ = ["Metrics"]
