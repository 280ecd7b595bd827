# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The page of the service's interface, made of its OpenAPI description."""

from typing import Any

from made_page import MadePage, table

from catseg_hf.service.api import make_api
from catseg_hf.service.errors import CODES
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.settings import ServiceSettings


INTRODUCTION = """\
# The service over HTTP

[`catseg serve`](../examples/serving.md) answers these requests. A service of yours shows the same page, to try things
out, at `/docs`, and for programs at `/openapi.json`.

Where the service has keys, send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`. The paths `/healthz`,
`/readyz` and `/metrics` need none.

## Errors

An error has a status, and in its body `{"error": {"code", "message"}}`. Rely on status and code; the message is for
people. [What each means](../examples/serving.md#what-an-error-looks-like)."""


def page() -> MadePage:
    """The page; no service is started for it."""
    settings = ServiceSettings()
    # Nothing is asked of a backend when routes are described.
    description = make_api(settings, None, Gate(settings, Metrics())).openapi()  # type: ignore[arg-type]
    models = description["components"]["schemas"]
    parts = [INTRODUCTION, table(("status", "code"), [(str(status), f"`{code}`") for status, code in CODES.items()])]
    parts += ["## Limits", "What a service allows by default; `GET /v1/model` tells those of yours."]
    limits = [(f"`{name}`", f"{value:,}") for name, value in settings.limits.items()]
    parts.append(table(("limit", "default"), limits))
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            parts += [f"## {method.upper()} {path}", f"{route['summary']}."]
            for kind, content in route.get("requestBody", {}).get("content", {}).items():
                parts += [f"**Request** as `{kind}`", _fields(content["schema"], models)]
            parts.append(_answers(route["responses"]))
    parts.append("## Objects")
    for name, schema in models.items():
        parts += [f"### {name}", schema.get("description", ""), _fields(schema, models)]
    return MadePage("reference/http.md", "Service over HTTP", "\n\n".join(parts) + "\n")


def _answers(responses: dict[str, Any]) -> str:
    rows = []
    for status, response in responses.items():
        kinds = ", ".join(f"`{kind}`" for kind in response.get("content", {})) or "–"
        schemas = [content.get("schema", {}) for content in response.get("content", {}).values()]
        rows.append((status, kinds, ", ".join(_type(schema) for schema in schemas if schema) or "–"))
    return "**Answers**\n\n" + table(("status", "type", "content"), rows)


def _fields(schema: dict[str, Any], models: dict[str, Any]) -> str:
    needed, rows = schema.get("required", []), []
    for name, field in schema["properties"].items():
        default = field.get("default")
        shown = "needed" if name in needed else "" if default is None else f"`{default}`"
        rows.append((f"`{name}`", _type(field), shown, field.get("description", "")))
    return table(("field", "type", "default", "what it is"), rows)


def _type(schema: dict[str, Any]) -> str:
    """A type as people write it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        kind = _type(schema["items"])
        return f"list of ({kind})" if " or " in kind else f"list of {kind}"
    kind = {"string": "text", "integer": "whole number", "object": "object"}.get(schema.get("type", ""), "")
    kind = kind or schema.get("type", "any")
    if schema.get("format") == "binary":
        kind = "file"
    limits = {"from": schema.get("minimum"), "to": schema.get("maximum")}
    return " ".join([kind, *(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)])
