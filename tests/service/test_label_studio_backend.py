# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the service answers a Label Studio, which is a small one of this test, and what it refuses."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from local_service import LocalBackend, client, png
from pycocotools import mask as coco_mask

from catseg_hf.formats.options import AnnotationOptions
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting import Segmenter
from catseg_hf.service import web_photos
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.label_config import read_label_config
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings


TOKEN, REFRESH, ACCESS = "0123abcd", "head.body.refresh", "head.body.access"
LABELS = '<Label value="star"/><Label value="moon" alias="crescent, lune"/><Label value="ground"/>'
NAMES, WORDS = ["star", "crescent, lune", "ground"], ["star", ["moon", "crescent", "lune"], "ground"]
POLYGONS = f'<PolygonLabels name="shape" toName="photo">{LABELS}</PolygonLabels>'
BRUSH = f'<BrushLabels name="shape" toName="photo">{LABELS}</BrushLabels>'


def interface(control: str) -> str:
    return f'<View><Image name="photo" value="$picture"/>{control}</View>'


class SmallLabelStudio:
    """Photos behind a token.

    Args:
        photo (`bytes`): The only one, at several addresses.
    """

    def __init__(self, photo: bytes) -> None:
        self.moved = "/data/upload/1/a.png"
        self.asked: list[str] = []
        studio = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server asks for
                studio.asked.append(self.path)
                parts = urlsplit(self.path)
                known = (f"Token {TOKEN}", f"Bearer {ACCESS}")
                if self.headers.get("Authorization") not in known:
                    return self.send(302, b"", Location="/user/login/?next=/")
                if parts.path == "/data/moved":
                    return self.send(303, b"", Location=studio.moved)
                if parts.path == "/tasks/7/resolve/":
                    assert parse_qs(parts.query) == {"fileuri": ["czM6Ly9idWNrZXQvYS5wbmc="]}
                    return self.send(200, photo)
                is_local = parts.path == "/data/local-files/" and parse_qs(parts.query) == {"d": ["set/a b.png"]}
                is_there = is_local or parts.path == "/data/upload/1/a.png"
                self.send(200 if is_there else 404, photo if is_there else b"")

            def do_POST(self) -> None:  # the name that http.server asks for
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_right = self.path == "/api/token/refresh" and body == {"refresh": REFRESH}
                self.send(200 if is_right else 401, json.dumps({"access": ACCESS}).encode())

            def send(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def studio() -> Iterator[SmallLabelStudio]:
    studio = SmallLabelStudio(png(draw_scene(3).image))
    threading.Thread(target=studio.server.serve_forever, daemon=True).start()
    yield studio
    studio.server.shutdown()
    studio.server.server_close()


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return ServedModel(ServiceSettings(model="tiny"))


@pytest.fixture
def settings(studio: SmallLabelStudio, tmp_path: Path) -> ServiceSettings:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return ServiceSettings(
        model="tiny", label_studio_url=studio.address, label_studio_token_file=str(tmp_path / "token")
    )


@pytest.fixture
def ask(model: ServedModel, settings: ServiceSettings) -> Callable[..., Any]:
    return client(settings, LocalBackend(model)).post


def predict(
    ask: Callable[..., Any], address: str = "/data/upload/1/a.png", control: str = POLYGONS, **more: Any
) -> dict[str, Any]:
    """The prediction for one task."""
    tasks = [{"id": 7, "data": {"picture": address}}]
    reply = ask("/predict", json={"tasks": tasks, "project": "1.2", "label_config": interface(control), **more})
    assert reply.status_code == 200, reply.text
    (prediction,) = reply.json()["results"]
    return prediction


def label_map(prediction: dict[str, Any], size: int = 256) -> np.ndarray:
    """The class of each pixel, -1 for none; the regions of one photo do not overlap."""
    ids = np.full((size, size), -1)
    for region in prediction["result"]:
        value = region["value"]
        if region["type"] == "brushlabels":
            mask = decode_rle(value["rle"]).reshape(size, size, 4)[..., 3] > 0
        else:
            ring = (np.array(value["points"]) * size / 100).ravel().tolist()
            mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring], size, size))) > 0
        ids[mask] = NAMES.index(value[region["type"]][0])
    return ids


@pytest.mark.parametrize("control", [POLYGONS, BRUSH])
def test_drafts_are_what_the_segmenter_decides(ask: Callable[..., Any], model: ServedModel, control: str) -> None:
    prediction = predict(ask, control=control)
    expected = Segmenter(model.network, model.processor, WORDS)(draw_scene(3).image)
    assert np.array_equal(label_map(prediction), expected.class_ids)
    assert LabelInterface(interface(control)).validate_prediction(prediction, return_errors=True) == []
    assert prediction["model_version"] == f"tiny {model.describe()['weights'][:8]}"
    assert prediction["score"] == pytest.approx(expected.scores.mean(), abs=1e-4)


def test_extra_params_are_those_of_the_setup(ask: Callable[..., Any], model: ServedModel) -> None:
    params = {"others": ["square"], "threshold": 0.8, "min_area": 20, "simplify": 1}
    body = {"project": "1.2", "schema": interface(POLYGONS), "extra_params": json.dumps(params)}
    plain = predict(ask)
    reply = ask("/setup", json=body)
    assert reply.json() == {"model_version": plain["model_version"]}
    drafts = predict(ask)
    segmenter = Segmenter(model.network, model.processor, WORDS, others=["square"], threshold=0.8)
    options = AnnotationOptions(min_area=20, simplify=1)
    photo = segmenter(draw_scene(3).image).annotate(options)
    assert len(drafts["result"]) == sum(len(each.polygons) for each in photo.annotations) < len(plain["result"])
    # Other projects have their own.
    assert predict(ask, project="2.3") == plain
    ask("/setup", json={**body, "extra_params": None})
    assert predict(ask) == plain


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=set/a%20b.png",
        "/data/upload/1/a.png",
        "data/upload/1/a.png",
        "s3://bucket/a.png",
        "/data/moved",
        "{studio}/data/upload/1/a.png",
    ],
)
def test_photos_of_label_studio(ask: Callable[..., Any], studio: SmallLabelStudio, address: str) -> None:
    assert predict(ask, address.format(studio=studio.address)) == predict(ask)


def test_a_personal_access_token_is_exchanged(model: ServedModel, settings: ServiceSettings) -> None:
    Path(settings.label_studio_token_file).write_text(REFRESH)
    assert predict(client(settings, LocalBackend(model)).post)["result"]
    Path(settings.label_studio_token_file).write_text("head.body.other")
    refused = predict(client(settings, LocalBackend(model)).post)
    assert (refused["result"], "refuses the service's token" in refused["model_version"]) == ([], True)


def test_what_cannot_be_had_says_why(
    model: ServedModel, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(address: str, **changes: Any) -> str:
        prediction = predict(client(replace(settings, **changes), LocalBackend(model)).post, address)
        assert prediction["result"] == []
        return prediction["model_version"]

    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    upload = "/data/upload/1/a.png"
    assert "Label Studio says 404" in why("/data/upload/1/b.png")
    assert "wants a token" in why(upload, label_studio_token_file=None)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "wrong")
    assert "refuses the service's token" in why(upload, label_studio_token_file=None)
    assert "--label-studio-url" in why(upload, label_studio_url=None)
    assert "cannot be reached" in why(upload, label_studio_url="http://127.0.0.1:1")
    assert "more than 100 bytes" in why(upload, max_photo_bytes=100)
    assert "pixels" in why(upload, max_photo_pixels=100)
    assert "in its data as picture" in why(7)
    for address in ("http://[bad", "http://localhost:123456/a.png"):
        assert "address of the task's photo is none" in why(address)


def test_nothing_is_fetched_from_elsewhere(
    model: ServedModel, settings: ServiceSettings, studio: SmallLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = SmallLabelStudio(b"secret")
    threading.Thread(target=elsewhere.server.serve_forever, daemon=True).start()
    studio.moved = f"{elsewhere.address}/data/upload/1/a.png"
    try:
        for allow_urls, cause in ((False, "--allow-urls"), (True, "public address")):
            ask = client(replace(settings, allow_urls=allow_urls), LocalBackend(model)).post
            for address in (studio.moved, "/data/moved", studio.moved.replace("http://", "http://me:you@")):
                assert cause in predict(ask, address)["model_version"]
        assert elsewhere.asked == []
        # Where it may be fetched from, it is without the token.
        monkeypatch.setattr(web_photos, "is_public", lambda host: True)
        assert "cannot be had" in predict(ask, "/data/moved")["model_version"]
        assert elsewhere.asked[:2] == ["/data/upload/1/a.png", "/user/login/?next=/"]
    finally:
        studio.moved = "/data/upload/1/a.png"
        elsewhere.server.shutdown()
        elsewhere.server.server_close()


def test_many_tasks_are_answered_in_their_order(ask: Callable[..., Any]) -> None:
    addresses = ["/data/upload/1/a.png", "/data/none.png", "s3://bucket/a.png"]
    tasks = [{"id": 7, "data": {"picture": address}} for address in addresses]
    reply = ask("/predict", json={"tasks": tasks, "label_config": interface(POLYGONS), "params": {"context": None}})
    assert [bool(each["result"]) for each in reply.json()["results"]] == [True, False, True]


@pytest.mark.slow
def test_of_more_than_can_be_done_in_time_the_first_is_answered(
    model: ServedModel, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(model)
    segment, num_asked = backend.segment, 0

    async def slow(request: Any) -> tuple[bytes, int]:
        nonlocal num_asked
        num_asked += 1
        if num_asked > 1:
            await asyncio.Event().wait()
        return await segment(request)

    monkeypatch.setattr(backend, "segment", slow)
    tasks = [{"id": 7, "data": {"picture": "/data/upload/1/a.png"}}] * 3
    web = client(replace(settings, timeout=3.0), backend)
    reply = web.post("/predict", json={"tasks": tasks, "label_config": interface(POLYGONS)})
    assert len(reply.json()["results"]) == 1


@pytest.mark.parametrize(
    ("config", "params", "cause"),
    [
        (interface('<Choices name="a" toName="photo"><Choice value="b"/></Choices>'), None, "nothing to segment"),
        (interface('<PolygonLabels name="a" toName="photo"/>'), None, "nothing to segment"),
        (interface('<PolygonLabels name="a" toName="photo"><Label value=" "/></PolygonLabels>'), None, "nothing to"),
        (interface(POLYGONS.replace("photo", "other")), None, "nothing to segment"),
        (interface(POLYGONS).replace("$picture", "picture"), None, "has no value such as $image"),
        (interface(POLYGONS.replace("moon", "star").replace(' alias="crescent, lune"', "")), None, "a label twice"),
        ("<View>", None, "is no XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + interface(POLYGONS), None, "DOCTYPE"),
        (None, None, "is no XML"),
        (interface(POLYGONS), "{", "no JSON object"),
        (interface(POLYGONS), "[1]", "no JSON object"),
        (interface(POLYGONS), {"treshold": 0.5}, "There are others, threshold"),
        (interface(POLYGONS), {"threshold": 2}, "threshold: Input should be less"),
    ],
)
def test_a_project_that_cannot_be_segmented(ask: Callable[..., Any], config: Any, params: Any, cause: str) -> None:
    reply = ask("/setup", json={"project": "1.2", "schema": config, "extra_params": params})
    # What Label Studio shows is the status and the address to which it was led.
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")
    assert cause in reply.json()["error"]["message"] and cause.replace(" ", "+") in str(reply.url)
    body = {"tasks": [{"id": 1, "data": {}}], "label_config": config, "params": {"extra_params": params}}
    assert ask("/predict", json=body).status_code == 422


def test_bodies(model: ServedModel, settings: ServiceSettings) -> None:
    ask = client(replace(settings, max_photo_bytes=1000), LocalBackend(model)).post
    for content, status in ((b"{", 400), (b"[]", 422), (b'{"tasks": 1}', 422), (b" " * 2**19, 413)):
        assert ask("/predict", content=content).status_code == status


def test_the_key_is_the_password(model: ServedModel, settings: ServiceSettings, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first-key\nsecond:key")
    web = client(replace(settings, api_key_file=str(tmp_path / "keys")), LocalBackend(model))
    body = {"project": "1.2", "schema": interface(POLYGONS)}
    for auth, status in ((("any", "first-key"), 200), (("any", "second:key"), 200), (("first-key", ""), 401)):
        assert web.get("/health", auth=auth).status_code == status
        assert web.post("/setup", json=body, auth=auth).status_code == status
        assert web.get("/v1/model", auth=auth).status_code == status
    assert web.post("/predict", json={}).status_code == web.get("/refused").status_code == 401
    assert web.get("/health", headers={"authorization": "Basic ???"}).status_code == 401


def test_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        ServiceSettings(label_studio_url="localhost:8080")
    settings = ServiceSettings(label_studio_token_file=str(tmp_path / "token"))
    with pytest.raises(ValueError, match="cannot be read"):
        settings.label_studio_token()
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="has no token"):
        settings.label_studio_token()
    with pytest.raises(ServiceError):
        read_label_config("<View/>")
