# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The page that documents the service, without the internet: what it refers to, and what a browser makes of it."""

import asyncio
import re
import threading
from collections.abc import Iterator

import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import expect

from catseg_hf.service.api import make_api
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.settings import ServiceSettings
from tests.chromium import chromium


@pytest.fixture(scope="module")
def api() -> FastAPI:
    settings = ServiceSettings()
    return make_api(settings, None, Gate(settings, Metrics()))  # nothing here asks a model


@pytest.fixture
def address(api: FastAPI) -> Iterator[str]:
    """Of the interface, behind a path as a proxy would give it one."""
    outer = FastAPI(openapi_url=None)
    outer.mount("/catseg", api)
    server = uvicorn.Server(uvicorn.Config(outer, port=0, log_level="error", lifespan="off"))
    socket = server.config.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([socket])))
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    socket.close()


def test_the_page_refers_to_nothing_beyond_its_server(api: FastAPI) -> None:
    web = TestClient(api)
    page = web.get("/docs").text
    assert "SwaggerUIBundle" in page and "//" not in page
    names = re.findall(r'(?:href|src)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    kinds = {name: web.get(f"/{name}") for name in names}
    assert {name: reply.headers["content-type"].split(";")[0] for name, reply in kinds.items()} == {
        "docs/swagger-ui.css": "text/css",
        "docs/swagger-ui-bundle.js": "text/javascript",
        "docs/favicon-32x32.png": "image/png",
        "openapi.json": "application/json",
    }
    style = kinds["docs/swagger-ui.css"].text
    assert "@import" not in style and re.findall(r"url\([\s\"']*(?!data:|[\s\"'])(.{20})", style) == []
    assert web.get("/docs/nothing.js").status_code == 404
    assert not [path for path in web.get("/openapi.json").json()["paths"] if path.startswith("/docs")]


@pytest.mark.slow
def test_a_browser_shows_it(address: str) -> None:
    urls, problems = [], []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: urls.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{address}/catseg/docs")
        operation = page.get_by_text("/v1/segment").first
        expect(operation).to_be_visible()
        operation.click()
        expect(page.get_by_text("synonyms by commas").first).to_be_visible()
    assert len(urls) >= 4 and not problems
    assert not [url for url in urls if not url.startswith((f"{address}/catseg/", "data:"))]
