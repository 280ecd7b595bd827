# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service as a machine-learning backend of Label Studio (https://labelstud.io/guide/ml): drafts for its tasks."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.requests import ClientDisconnect

from catseg_hf.formats.label_studio import LabelStudio, ResultTags, to_results
from catseg_hf.formats.options import AnnotationOptions
from catseg_hf.segmenting import Segmentation
from catseg_hf.service.errors import CODES, ServiceError
from catseg_hf.service.gate import CALLER_LEFT, Gate
from catseg_hf.service.label_config import ExtraParams, read_extra_params, read_label_config
from catseg_hf.service.requests import MAX_OTHER_BYTES, read_object
from catseg_hf.service.segment_request import Backend, SegmentRequest, check_photo, checked_labels, checked_others
from catseg_hf.service.settings import ServiceSettings
from catseg_hf.service.web_photos import LabelStudioPhotos


KEPT_PROJECTS = 1024
# Of a query, what can stay as it is.
READABLE = "/:,;()'$"


@dataclass(frozen=True, kw_only=True)
class DraftRequest(SegmentRequest):
    """A request whose answer is the regions of a prediction: what they refer to, and how they are made."""

    tags: ResultTags
    options: AnnotationOptions

    def answer(self, result: Segmentation, model: str) -> bytes:
        """See [`SegmentRequest.answer`]."""
        is_known = result.class_ids >= 0
        score = float(result.scores[is_known].mean()) if result.scores is not None and is_known.any() else 0.0
        regions = to_results(result.annotate(self.options, "image"), self.tags)
        return json.dumps({"result": regions, "score": round(score, 6)}).encode()


class LabelStudioBackend:
    """What Label Studio asks."""

    def __init__(self, settings: ServiceSettings, backend: Backend, gate: Gate) -> None:
        self.settings, self.backend, self.gate = settings, backend, gate
        self.photos = LabelStudioPhotos(settings)
        # Label Studio sends them at each setup, which comes before predictions, and not with these.
        self.params: OrderedDict[str, ExtraParams] = OrderedDict()

    async def version(self) -> str:
        """The model's name, and the beginning of what its weights are known by: other weights, other predictions."""
        described = await self.backend.describe()
        digest = described.get("weights") or described.get("commit") or ""
        return f"{described['name']} {digest[:8]}".strip()

    async def setup(self, body: dict[str, Any]) -> dict[str, Any]:
        """Checks a project's labelling interface, and keeps its extra parameters."""
        params = read_extra_params(body.get("extra_params"))
        self._draft_request(body.get("schema"), params)
        project = str(body.get("project"))
        self.params[project] = params
        self.params.move_to_end(project)
        if len(self.params) > KEPT_PROJECTS:
            self.params.popitem(last=False)
        return {"model_version": await self.gate.in_time(self.version())}

    async def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Drafts for tasks.

        Where a photo cannot be had, the task gets a prediction without regions, whose version says why: that is what
        Label Studio shows, and it asks again later, since it is not the model's version.

        If all take too long, only the first is answered, and Label Studio asks for each in a request of its own.
        """
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not tasks or not all(isinstance(each, dict) for each in tasks):
            raise ServiceError(422, "`tasks` must be a list of Label Studio's tasks.")
        handed = body.get("params")
        handed = handed.get("extra_params") if isinstance(handed, dict) else None
        kept = self.params.get(str(body.get("project")), ExtraParams())
        params = read_extra_params(handed) if handed else kept
        image_key, request = self._draft_request(body.get("label_config"), params)
        version = await self.gate.in_time(self.version())
        # One that is fetched beside those that are worked on.
        some = asyncio.Semaphore(self.settings.replicas + 1)

        async def draft(task: dict[str, Any]) -> dict[str, Any]:
            async with some:
                try:
                    return {**await self._draft(task, image_key, request), "model_version": version}
                except ServiceError as error:
                    return {"result": [], "score": 0.0, "model_version": error.message}

        first = await draft(tasks[0])
        try:
            others = await self.gate.in_time(asyncio.gather(*map(draft, tasks[1:])))
        except ServiceError:  # too many for the time that Label Studio waits
            others = []
        return {"results": [first, *others]}

    def _draft_request(self, interface: Any, params: ExtraParams) -> tuple[str, DraftRequest]:
        """Under which name tasks have their images, and a request but for its photo."""
        config = read_label_config(interface)
        labels = checked_labels(config.labels, self.settings)
        request = DraftRequest(
            photo=b"",
            labels=labels,
            others=checked_others(params.others, labels, self.settings),
            threshold=params.threshold,
            background=None,
            format=LabelStudio.name,
            tags=config.tags,
            options=AnnotationOptions(params.min_area, params.simplify, params.fill_holes, config.shapes),
        )
        return config.image_key, request

    async def _draft(self, task: dict[str, Any], image_key: str, request: DraftRequest) -> dict[str, Any]:
        async def work() -> tuple[bytes, int]:
            data, number = task.get("data"), task.get("id")
            address = data.get(image_key) if isinstance(data, dict) else None
            if not isinstance(address, str) or not isinstance(number, int):
                raise ServiceError(422, f"The task has no id, or no address of an image in its data as {image_key}.")
            photo = await self.photos.fetch(address, number)
            check_photo(photo, self.settings)
            return await self.backend.segment(replace(request, photo=photo))

        return json.loads(await self.gate.answered(work))


def add_label_studio(api: APIRouter, settings: ServiceSettings, backend: Backend, gate: Gate) -> None:
    """Adds what Label Studio asks of a machine-learning backend; its photos are counted by the gate."""
    asked = LabelStudioBackend(settings, backend, gate)

    async def answer(request: Request, work: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> Response:
        limit = settings.max_photo_bytes + MAX_OTHER_BYTES
        try:
            body = await gate.in_time(read_object(request, limit, advice="send fewer tasks"))
            return JSONResponse(await work(body))
        except ServiceError as error:
            # Of an error, Label Studio shows the status and the address, and of the body nothing: so it is sent to an
            # address that says why.
            why = quote_plus(error.message, safe=READABLE)
            return RedirectResponse(f"refused?status={error.status}&why={why}", 303)
        except ClientDisconnect:
            return Response(status_code=CALLER_LEFT)

    @api.get("/health", summary="Label Studio: whether the service runs")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "CAT-Seg"}

    @api.post("/setup", summary="Label Studio: a project is connected")
    async def setup(request: Request) -> Response:
        return await answer(request, asked.setup)

    @api.post("/predict", summary="Label Studio: drafts for tasks")
    async def predict(request: Request) -> Response:
        return await answer(request, asked.predict)

    @api.get("/refused", include_in_schema=False)
    async def refused(status: int = 422, why: str = "") -> Response:
        raise ServiceError(status if status in CODES else 422, why)
