# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label Studio itself, in a process of its own."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from running_service import wait_for


USER, PASSWORD, TOKEN = "annotator@example.org", "of-the-test", "0123456789abcdef0123456789abcdef01234567"


class LabelStudio:
    """A Label Studio that runs, asked as its user."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.web = httpx.Client(base_url=address, headers={"Authorization": f"Token {TOKEN}"}, timeout=200)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        reply = self.web.request(method, path, **body)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def export(self, project: int, kind: str) -> bytes:
        reply = self.web.get(f"/api/projects/{project}/export", params={"exportType": kind})
        assert reply.is_success, reply.text
        return reply.content


@contextmanager
def running_label_studio(program: str, folder: Path, photos: Path) -> Iterator[LabelStudio]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(photos),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        # A backend on the same machine.
        "ML_BLOCK_LOCAL_IP": "false",
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        # Nothing is sent anywhere.
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    environment.pop("PYTHONPATH", None)
    command = [program, "start", "--no-browser", "--port", str(port)]
    command += ["--username", USER, "--password", PASSWORD, "--user-token", TOKEN]
    log = folder / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            studio = LabelStudio(f"http://127.0.0.1:{port}")
            wait_for(lambda: process.poll() is not None or _is_up(studio))
            assert process.poll() is None, log.read_text()
            yield studio
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _is_up(studio: LabelStudio) -> bool:
    try:
        return studio.web.get("/health").is_success
    except httpx.TransportError:
        return False
