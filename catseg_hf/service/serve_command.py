# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg serve`: the service on this machine, or on a cluster that runs already."""

import logging
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from catseg_hf.command_options import MODEL_HELP, ViewsOption, WeightType
from catseg_hf.ray_session import ray_session
from catseg_hf.service.settings import ServiceSettings


def serve(
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = ServiceSettings.model,
    host: Annotated[
        str, typer.Option(help="Where the service listens; 0.0.0.0 lets other machines ask it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the service.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Processes with a model each; of GPUs, each needs one.")] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: auto, host:6379 or ray://host:10001.", show_default="a Ray of this machine"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, ...")] = "auto",
    dtype: WeightType = "auto",
    views: ViewsOption = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores of a replica.", show_default="all, shared by the replicas")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Photos that go through the model together.", show_default="1 on a CPU, 16 on a GPU"),
    ] = None,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests at a time; more are refused at once.")
    ] = ServiceSettings.max_waiting,
    max_megabytes: Annotated[float, typer.Option(min=0.01, help="Of a photo's file, in MiB.")] = (
        ServiceSettings.max_photo_bytes / 2**20
    ),
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Of a photo.")] = (
        ServiceSettings.max_photo_pixels / 1e6
    ),
    max_names: Annotated[int, typer.Option(min=1, help="Of a request, synonyms counted.")] = ServiceSettings.max_names,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of a request.")] = ServiceSettings.timeout,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch photos from public addresses, for `image_url`.")
    ] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option(resolve_path=True, help="A file with a key in each line, one of which callers must send."),
    ] = None,
    label_studio_url: Annotated[
        str | None, typer.Option(help="The Label Studio whose photos it fetches, as its machine-learning backend.")
    ] = None,
    label_studio_token_file: Annotated[
        Path | None,
        typer.Option(
            resolve_path=True,
            help="A file with a token of Label Studio.",
            show_default="the variable LABEL_STUDIO_API_KEY",
        ),
    ] = None,
) -> None:
    """Start a service: photos and labels over HTTP, masks back. Ctrl-C finishes what runs, and ends it."""
    settings = ServiceSettings(
        model=model,
        device=device,
        dtype=dtype,
        views=views,
        replicas=replicas,
        cpus=cpus,
        batch_size=batch_size,
        max_waiting=max_waiting,
        max_photo_bytes=int(max_megabytes * 2**20),
        max_photo_pixels=int(max_megapixels * 1e6),
        max_names=max_names,
        timeout=timeout,
        allow_urls=allow_urls,
        api_key_file=api_key_file,
        label_studio_url=label_studio_url,
        label_studio_token_file=label_studio_token_file,
    )
    if address is None:
        from catseg_hf.hub import find_model
        from catseg_hf.segmenting.devices import pick_device

        pick_device(device)
        find_model(model)
    with ray_session(address):
        # Only now, since Ray sets its own.
        _run(settings, host, port, _stop_signal())


def _stop_signal() -> threading.Event:
    """Is set by Ctrl-C and SIGTERM, which otherwise would end the program in the middle of an answer."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _run(settings: ServiceSettings, host: str, port: int, stop: threading.Event) -> None:
    from ray import serve as ray_serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    from catseg_hf.service.application import API, MODEL, NAME, build

    ray_serve.start(http_options={"host": host, "port": port})
    try:
        try:
            ray_serve.run(build(settings), name=NAME, route_prefix="/", blocking=False)
        except RuntimeError as error:
            # Of a replica's traceback, the error itself.
            report = ray_serve.status().applications[NAME].deployments[MODEL].message.strip().splitlines()
            reason = next((line for line in reversed(report) if "Error" in line), error)
            raise RuntimeError(f"The model could not be started. {reason}") from error
        typer.echo(f"Serving {settings.model} at http://{host}:{port}, documented at /docs. Ctrl-C ends it.")
        while not stop.wait(1):
            pass
        typer.echo("Finishing what runs ...")
        with suppress(TimeoutError):  # a request cannot take longer
            ray_serve.get_deployment_handle(API, NAME).close.remote().result(timeout_s=settings.timeout + 5)
    finally:
        # Of a Ray of this machine too: its end would cut off answers that are on their way.
        ray_serve.delete(NAME)
