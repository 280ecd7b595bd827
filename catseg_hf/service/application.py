# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service as an application of Ray Serve: one deployment for HTTP, one with the model's replicas."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve._private import replica as ray_replica
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catseg_hf.onnx import is_exported
from catseg_hf.ray_session import LOOPBACK
from catseg_hf.segmenting import Segmentation
from catseg_hf.service.api import make_api
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import PreparedRequest, ServedModel
from catseg_hf.service.settings import ServiceSettings


NAME = "catseg"
MODEL, API = "CatSegModel", "CatSegApi"
BATCH_WAIT_SECONDS = 0.005
LOST = "The process that worked on this request ended: try again."


def _listen_as_ray_does() -> None:
    """On a Ray of this machine only, a process of Ray Serve listens for other such processes at no other address.

    It would do so at all addresses, whatever that of its Ray is.
    """
    if ray.util.get_node_ip_address() == LOOPBACK:
        add_port = ray_replica.add_port_to_grpc_server
        ray_replica.add_port_to_grpc_server = lambda server, address: add_port(
            server, f"{LOOPBACK}:{address.rpartition(':')[2]}"
        )


@serve.deployment(name=MODEL)
class ModelReplica:
    """A process with the model."""

    def __init__(self, settings: ServiceSettings) -> None:
        _listen_as_ray_does()
        self.model = ServedModel(settings)
        self.description = self.model.describe()
        # One thread, since a model works on one batch at a time; photos are read and answers written beside it.
        self.thread = ThreadPoolExecutor(1)
        size = self.model.batch_size
        self.segment_together.set_max_batch_size(size)
        self.segment_together.set_batch_wait_timeout_s(0 if size == 1 else BATCH_WAIT_SECONDS)

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int] | ServiceError:
        """See [`Backend`]; what is wrong with a request is returned, not raised, since Ray would wrap it."""
        try:
            prepared = await asyncio.to_thread(self.model.prepare, request)
        except ServiceError as error:
            return error
        result, together = await self.segment_together(prepared)
        if isinstance(result, ServiceError):
            return result
        return await asyncio.to_thread(request.answer, result, self.description["name"]), together

    @serve.batch
    async def segment_together(
        self, waiting: list[PreparedRequest]
    ) -> Sequence[tuple[Segmentation | ServiceError, int]]:
        """For each that waits its result, see [`ServedModel.segment`], and how many there were."""
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self.thread, self.model.segment, waiting)
        return [(result, len(waiting)) for result in results]

    def describe(self) -> dict[str, Any]:
        """What the model is; see [`ServedModel.describe`]."""
        return self.description


class RayBackend:
    """The model's replicas, as the interface asks them."""

    def __init__(self, replicas: DeploymentHandle) -> None:
        self.replicas = replicas
        self.description: dict[str, Any] | None = None

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        """See [`Backend`]."""
        response = self.replicas.segment.remote(request)
        try:
            answer = await response
        except asyncio.CancelledError:
            # Nobody waits for it any more: the caller went away, or it took too long.
            response.cancel()
            raise
        except (RayError, RayServeException) as error:
            raise ServiceError(503, LOST) from error
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def describe(self) -> dict[str, Any]:
        """See [`Backend`]."""
        if self.description is None:
            try:
                self.description = await self.replicas.describe.remote()
            except (RayError, RayServeException) as error:
                raise ServiceError(503, LOST) from error
        return self.description

    async def is_ready(self) -> bool:
        """See [`Backend`]."""
        status = await asyncio.to_thread(serve.status)
        deployment = status.applications[NAME].deployments.get(MODEL)
        return deployment is not None and deployment.replica_states.get("RUNNING", 0) > 0


class DisconnectMiddleware:
    """Says that the caller went away as ASGI says it, where Ray raises that what fetches the body was cancelled."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on."""

        async def receive_or_end() -> Message:
            try:
                return await receive()
            except RayError:
                return {"type": "http.disconnect"}

        await self.app(scope, receive_or_end, send)


@serve.deployment(name=API)
@serve.ingress()
class ApiReplica:
    """The HTTP interface."""

    def __init__(self, settings: ServiceSettings, replicas: DeploymentHandle) -> None:
        _listen_as_ray_does()
        self.settings, self.replicas = settings, replicas
        self.gate = Gate(settings, Metrics())

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = make_api(self.settings, RayBackend(self.replicas), self.gate)
        api.add_middleware(DisconnectMiddleware)
        return api

    async def close(self) -> None:
        """Lets no request in any more, and waits for those that are there."""
        await self.gate.close()


def build(settings: ServiceSettings | dict[str, Any]) -> serve.Application:
    """The application, for `serve.run`, or as `import_path: catseg_hf.service.application:build` of a config file.

    Args:
        settings ([`ServiceSettings`] or `dict`): The settings, or those of them that are not the default.

    Returns:
        `serve.Application`

    Raises:
        TypeError, ValueError: If there is no such setting, or one has a value that is not allowed.
    """
    settings = ServiceSettings(**settings) if isinstance(settings, dict) else settings
    # Refused here, if they cannot be read, and not by a process that is started again and again.
    settings.api_keys()
    settings.label_studio_token()
    resources = ray.cluster_resources()
    finds_gpus = resources.get("GPU", 0) >= settings.replicas and not is_exported(settings.model)
    has_gpu = settings.device == "auto" and finds_gpus or settings.device == "cuda"
    cores = int(resources.get("CPU", 1))
    cpus = settings.cpus or (1 if has_gpu else max(1, cores // settings.replicas))
    model = ModelReplica.options(
        num_replicas=settings.replicas,
        # One batch that is worked on and one that waits; the rest waits where a replica's end does not touch it.
        max_ongoing_requests=2 * (settings.batch_size or (16 if has_gpu else 1)),
        ray_actor_options={"num_cpus": cpus, "num_gpus": 1 if has_gpu else 0},
        health_check_period_s=2,
        graceful_shutdown_timeout_s=settings.timeout,
    )
    api = ApiReplica.options(
        # Above what the gate lets in, so that it can say no.
        max_ongoing_requests=4 * settings.max_waiting + 100,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.timeout,
    )
    return api.bind(settings, model.bind(settings))


__all__ = ["build"]
