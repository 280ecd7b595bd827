# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Servers that are slow, endless, lying or redirecting: for photos, for published checkpoints, and as the Hub."""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from catseg_hf.conversion import download
from catseg_hf.segmenting import photo_reading
from tests.robustness.outcomes import Attempts


pytestmark = pytest.mark.slow


CONTENT = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(CONTENT, "PNG")
PHOTO = CONTENT.getvalue()
CHECKPOINT = np.random.default_rng(0).bytes(100_000)


class Server(BaseHTTPRequestHandler):
    """Answers each path in the way that its name says, with the content that the path ends in."""

    def do_GET(self) -> None:
        way, _, name = self.path.strip("/").partition("/")
        content = PHOTO if name == "photo.png" else CHECKPOINT
        try:
            getattr(self, way)(content)
        except OSError:  # the client has had enough
            return

    def send(self, status: int, content: bytes, **headers: object) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def right(self, content: bytes) -> None:
        self.send(200, content, Content_Length=len(content))

    def no_length(self, content: bytes) -> None:
        self.send(200, content)

    def wrong_type(self, content: bytes) -> None:
        self.send(200, content, Content_Type="text/html; charset=utf-16", Content_Length=len(content))

    def redirected(self, content: bytes) -> None:
        self.send(302, b"", Location=self.path.replace("redirected", "right"))

    def cut_off(self, content: bytes) -> None:
        self.send(200, content[: len(content) // 2], Content_Length=len(content))

    def too_short_a_length(self, content: bytes) -> None:
        self.send(200, content, Content_Length=len(content) // 2)

    def negative_length(self, content: bytes) -> None:
        self.send(200, content, Content_Length=-5)

    def length_in_words(self, content: bytes) -> None:
        self.send(200, content, Content_Length="many")

    def empty(self, content: bytes) -> None:
        self.send(200, b"", Content_Length=0)

    def web_page(self, content: bytes) -> None:
        self.send(200, b"<!DOCTYPE html><html><body>Log in first</body></html>")

    def not_found(self, content: bytes) -> None:
        self.send(404, content, Content_Length=len(content))

    def failing(self, content: bytes) -> None:
        self.send(500, content, Content_Length=len(content))

    def not_modified(self, content: bytes) -> None:
        self.send(304, b"")

    def loop(self, content: bytes) -> None:
        self.send(302, b"", Location=self.path)

    def to_a_file(self, content: bytes) -> None:
        self.send(302, b"", Location=f"file://{self.server.secret}")

    def to_nowhere(self, content: bytes) -> None:
        self.send(302, b"")

    def stops(self, content: bytes) -> None:
        self.send(200, content[:50], Content_Length=len(content))
        self.wfile.flush()
        self.server.released.wait(30)

    def silent(self, content: bytes) -> None:
        self.server.released.wait(30)

    def no_http(self, content: bytes) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    def bad_chunks(self, content: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send(200, b"zz\r\n" + content, Transfer_Encoding="chunked")

    def endless(self, content: bytes) -> None:
        self.send(200, content)
        while not self.server.released.is_set():
            self.wfile.write(bytes(2**16))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


RIGHT = ("right", "no_length", "wrong_type", "redirected")
WRONG = (
    "cut_off",
    "too_short_a_length",
    "negative_length",
    "length_in_words",
    "empty",
    "web_page",
    "not_found",
    "failing",
    "not_modified",
    "loop",
    "to_a_file",
    "to_nowhere",
    "stops",
    "silent",
    "no_http",
    "bad_chunks",
    "endless",
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    server.released = threading.Event()
    server.secret = tmp_path / "secret.png"
    server.secret.write_bytes(PHOTO)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def in_time(action: Callable[[], object]) -> object:
    """What an action gives, if it takes no longer than all its time limits together."""
    start = time.monotonic()
    try:
        return action()
    finally:
        assert time.monotonic() - start < 30


def test_photos(attempts: Attempts, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos from servers that answer rightly in four ways and wrongly in seventeen"""
    monkeypatch.setattr(photo_reading, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(photo_reading, "MAX_BYTES", 2**20)
    expected = np.asarray(Image.open(io.BytesIO(PHOTO)))

    def is_right(picture: Image.Image) -> bool:
        return np.array_equal(np.asarray(picture), expected)

    for way in (*RIGHT, *WRONG):
        address = f"http://127.0.0.1:{server.server_port}/{way}/photo.png"
        attempts.attempt(way, lambda address=address: in_time(lambda: photo_reading.read_photo(address)), is_right)


def test_checkpoints(
    attempts: Attempts, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A published checkpoint from the same servers"""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "MAX_BYTES", 2**20)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    digest = hashlib.sha256(CHECKPOINT).hexdigest()[:8]
    for way in (*RIGHT, *WRONG):
        address = f"http://127.0.0.1:{server.server_port}/{way}/model.pth"
        file = download.PublishedFile("model.pth", url=address, sha256_prefix=digest)
        monkeypatch.setitem(download.PUBLISHED, "mmseg-base", file)
        cache = tmp_path / way
        attempts.attempt(
            way,
            lambda cache=cache: in_time(lambda: download.fetch_original("mmseg-base", cache)),
            lambda path: path.read_bytes() == CHECKPOINT,
            ["model.pth"],
        )
        left = [path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        assert left in ([], ["model.pth"])
