# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg serve` in processes of its own, for the tests that ask it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import psutil

from catseg_hf.scenes import draw_scene


# On a slow machine.
START_SECONDS = 240
REPLICA = "ServeReplica:catseg:CatSegModel"


class Service:
    """A service that runs."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, photo: bytes, labels: str, **options: str) -> httpx.Response:
        return httpx.post(
            f"{self.address}/v1/segment", files={"image": photo}, data={"labels": labels, **options}, timeout=120
        )

    def replicas(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in found if REPLICA in " ".join(_command(process))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it ended just now
        return []


@contextmanager
def running_service(log: Path, *options: str) -> Iterator[Service]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "catseg_hf.cli", "serve", "--model", "tiny", "--port", str(port), *options]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            wait_for(lambda: "Serving tiny at" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Service(process, port, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def wait_for(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.2)


def photo_of(seed: int, size: int = 128, kind: str = "PNG") -> bytes:
    file = BytesIO()
    draw_scene(seed, size).image.save(file, format=kind)
    return file.getvalue()
