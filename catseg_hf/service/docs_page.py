# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The documentation of the interface in the browser, which asks no other server for anything."""

from importlib.resources import files

import fastapi_swagger
from fastapi import FastAPI, HTTPException, Response
from fastapi.openapi.docs import get_swagger_ui_html


SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"
MEDIA_TYPES = {SCRIPT: "text/javascript", STYLE: "text/css", ICON: "image/png"}


def add_docs_page(api: FastAPI) -> None:
    """Adds `/docs`, Swagger's page, with its files.

    Args:
        api (`fastapi.FastAPI`): The interface, which has none of its own.
    """

    @api.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        # Relative, for services behind a path of another server.
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url=f"docs/{SCRIPT}",
            swagger_css_url=f"docs/{STYLE}",
            swagger_favicon_url=f"docs/{ICON}",
        )

    @api.get("/docs/{name}", include_in_schema=False)
    def docs_file(name: str) -> Response:
        if name not in MEDIA_TYPES:
            raise HTTPException(404, "Not Found")
        content = (files(fastapi_swagger) / "resources" / name).read_bytes()
        return Response(content, media_type=MEDIA_TYPES[name])


__all__ = ["add_docs_page"]
