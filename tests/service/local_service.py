# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service's interface over a model in this process, for the tests that ask it."""

from io import BytesIO
from typing import Any

from fastapi.testclient import TestClient
from PIL import Image

from catseg_hf.service.api import make_api
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings


class LocalBackend:
    """A model in this process."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        (result,) = self.model.segment([self.model.prepare(request)])
        if isinstance(result, ServiceError):
            raise result
        return request.answer(result, "tiny"), 1

    async def describe(self) -> dict[str, Any]:
        return self.model.describe()

    async def is_ready(self) -> bool:
        return True


def client(settings: ServiceSettings, backend: LocalBackend) -> TestClient:
    api = make_api(settings, backend, Gate(settings, Metrics()))
    return TestClient(api, "http://service", raise_server_exceptions=False)


def png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
