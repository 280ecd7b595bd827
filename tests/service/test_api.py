# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The interface over a real model, in this process: what it answers, what it refuses, and how."""

import asyncio
import base64
import json
import re
import shlex
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


pytest.importorskip("ray", reason='needs the extra "serve"')
from local_service import LocalBackend, client, png
from loopback_web import LoopbackWeb
from pycocotools import mask as coco_mask

from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting import Segmenter
from catseg_hf.service import web_photos
from catseg_hf.service.api import make_api
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings


PAGE = Path(__file__).parents[2] / "examples" / "serving.md"
SEGMENT, LABELS = "/v1/segment", "star, moon, ground"


class StuckBackend(LocalBackend):
    """A model that never answers."""

    def __init__(self) -> None:
        self.num_asked = 0

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        self.num_asked += 1
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return ServedModel(ServiceSettings(model="tiny", max_photo_pixels=100_000))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw_scene(3).image


@pytest.fixture(scope="module")
def photo(picture: Image.Image) -> bytes:
    return png(picture)


@pytest.fixture
def ask(model: ServedModel) -> Callable[..., Any]:
    """A client of the interface."""
    return client(model.settings, LocalBackend(model)).post


def test_an_answer_is_what_the_command_line_gives(
    ask: Callable[..., Any], model: ServedModel, picture: Image.Image, photo: bytes
) -> None:
    answer = ask(SEGMENT, files={"image": photo}, data={"labels": LABELS}).json()
    segmenter = Segmenter(model.network, model.processor, LABELS.split(", "))
    expected = segmenter(picture)
    assert {name: answer[name] for name in ("width", "height", "model")} == {
        "width": 256,
        "height": 256,
        "model": "tiny",
    }
    found = expected.segments()
    assert [segment["label"] for segment in answer["segments"]] == [segment["label"] for segment in found]
    for segment, other in zip(answer["segments"], found, strict=True):
        assert {name: segment[name] for name in ("score", "area", "box")} == {
            name: other[name] for name in ("score", "area", "box")
        }
        mask = coco_mask.decode({**segment["mask"], "counts": segment["mask"]["counts"].encode()})
        assert np.array_equal(mask == 1, expected.class_ids == other["id"])


def test_the_request_that_the_page_shows_has_the_answer_that_it_shows(ask: Callable[..., Any], photo: bytes) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (command,) = re.findall("^curl .*$", page, re.MULTILINE)
    words = shlex.split(command)
    assert f"http://127.0.0.1:8000{SEGMENT}" in words
    form = dict(word.split("=", 1) for option, word in zip(words, words[1:], strict=False) if option == "--form")
    assert form.pop("image") == "@photo.jpg"
    answer = ask(SEGMENT, files={"image": photo}, data=form).json()
    (block,) = re.findall("^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    for segment, other in zip(shown.pop("segments"), answer.pop("segments"), strict=True):
        # Of other processors, a few pixels can differ.
        assert segment.pop("score") == pytest.approx(other.pop("score"), abs=0.01)
        assert segment.pop("area") == pytest.approx(other.pop("area"), rel=0.01)
        assert segment.pop("box") == pytest.approx(other.pop("box"), abs=3)
        assert segment.pop("mask") == {"size": other.pop("mask")["size"], "counts": "…"}
        assert segment == other
    assert shown == answer


def test_pictures(ask: Callable[..., Any], photo: bytes) -> None:
    form = {"labels": LABELS, "threshold": "0.5", "background": "ground"}
    answer = ask(SEGMENT, files={"image": photo}, data=form).json()
    label_map = ask(SEGMENT, files={"image": photo}, data={**form, "format": "label-map"})
    assert label_map.headers["content-type"] == "image/png"
    ids = Image.open(BytesIO(label_map.content))
    names = json.loads(ids.text["labels"])
    areas = {names[index]: area for index, area in zip(*np.unique(ids, return_counts=True), strict=True)}
    assert areas == {segment["label"]: segment["area"] for segment in answer["segments"]}
    overlay = Image.open(BytesIO(ask(SEGMENT, files={"image": photo}, data={**form, "format": "overlay"}).content))
    assert overlay.width == 256 and overlay.height > 256  # with its legend


def test_one_view_or_sliding_windows(
    ask: Callable[..., Any], model: ServedModel, picture: Image.Image, photo: bytes
) -> None:
    for views in ("one", "sliding"):
        answer = ask(SEGMENT, files={"image": photo}, data={"labels": LABELS, "views": views}).json()
        expected = Segmenter(model.network, model.processor, LABELS.split(", "), views=views)(picture)
        assert [each["area"] for each in answer["segments"]] == [each["area"] for each in expected.segments()]
    sliding = ServedModel(ServiceSettings(model="tiny", views="sliding"))
    ask_sliding = client(sliding.settings, LocalBackend(sliding)).post
    by_default = ask_sliding(SEGMENT, files={"image": photo}, data={"labels": LABELS}).json()
    assert by_default["segments"] == answer["segments"]
    wrong = ask(SEGMENT, files={"image": photo}, data={"labels": LABELS, "views": "five"})
    message = wrong.json()["error"]["message"]
    assert wrong.status_code == 422 and "`views`: Input should be 'one' or 'sliding'" in message


def test_json_is_answered_as_a_form(ask: Callable[..., Any], photo: bytes) -> None:
    image = base64.b64encode(photo).decode()
    form = ask(SEGMENT, files={"image": photo}, data={"labels": "star, sun; moon; ground"})
    assert form.status_code == 200
    assert ask(SEGMENT, json={"image": image, "labels": "star, sun; moon; ground"}).content == form.content
    assert ask(SEGMENT, json={"image": image, "labels": [["star", "sun"], "moon", "ground"]}).content == form.content


def test_without_labels_the_classes_are_those_of_the_model(
    ask: Callable[..., Any], model: ServedModel, photo: bytes
) -> None:
    answer = ask(SEGMENT, files={"image": photo}).json()
    found = {segment["label"] for segment in answer["segments"]}
    assert found and found <= set(model.network.config.id2label.values())


def test_a_single_label_gets_what_it_names(
    ask: Callable[..., Any], model: ServedModel, picture: Image.Image, photo: bytes, tmp_path: Path
) -> None:
    def areas(others: Any = None, labels: str = "moon", **form: str) -> dict[str, int]:
        fields = {"labels": labels, **form} | ({} if others is None else {"others": others})
        if isinstance(others, list):
            reply = ask(SEGMENT, json={"image": base64.b64encode(photo).decode(), **fields})
        else:
            reply = ask(SEGMENT, files={"image": photo}, data=fields)
        assert reply.status_code == 200, reply.text
        return {segment["label"]: segment["area"] for segment in reply.json()["segments"]}

    def expected(labels: list[str], others: Any = None) -> dict[str, int]:
        found = Segmenter(model.network, model.processor, labels, others=others)(picture)
        return {segment["label"]: segment["area"] for segment in found.segments()}

    whole = {"moon": picture.width * picture.height}
    assert areas("none") == areas([]) == whole
    own = expected(["moon"], "own")
    assert areas() == areas("own") == own and 0 < own["moon"] < whole["moon"] / 3
    both = {"moon": expected(["moon", "ring", "ground"])["moon"]}
    assert areas("ring, ground") == areas(["ring", "ground"]) == both
    assert areas("pascal_voc_20") == expected(["moon"], "pascal_voc_20")
    assert areas(labels=LABELS) == expected(LABELS.split(", "))
    named = areas(background="rest")
    assert named["moon"] == own["moon"] and sum(named.values()) == whole["moon"]
    # A path is a label like any other word, and nothing is read.
    secret = tmp_path / "others.txt"
    secret.write_text("ground\n")
    assert areas(str(secret)) == expected(["moon"], [str(secret)]) != expected(["moon"], ["ground"])


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({}, 422, "There is no photo"),
        ({"image": b""}, 422, "`image` is empty"),
        ({"image": b"no picture"}, 415, "no picture"),
        ({"image": "text"}, 422, "There is no photo"),
        ({"labels": "star, star"}, 422, "Labels 1 and 2 are the same"),
        ({"labels": " , star"}, 422, "Label 1 of 2 is empty"),
        ({"labels": "star, " + "very " * 90 + "long"}, 422, "very very"),
        ({"labels": ", ".join(map(str, range(257)))}, 422, "257 names, and the most are 256"),
        ({"labels": "x" * 8001}, 422, "8001 letters, and the most are 8000"),
        ({"label": "star"}, 422, "`label` is not known: there are image, labels"),
        ({"threshold": "2"}, 422, "`threshold`"),
        ({"threshold": "half"}, 422, "`threshold`"),
        ({"threshold": "nan"}, 422, "`threshold`"),
        ({"background": "sky"}, 422, "and of `others`: give one too"),
        ({"others": "moon, moon"}, 422, "Labels 1 and 2 are the same"),
        ({"others": ", ".join(map(str, range(257)))}, 422, "The others have 257 names, and the most are 256"),
        ({"others": "ade20k_847"}, 422, "The others have 1281 names, and the most are 256"),
        ({"others": "x" * 8001}, 422, "The others have 8001 letters, and the most are 8000"),
        ({"format": "gif"}, 422, "`format`"),
    ],
)
def test_bad_forms(ask: Callable[..., Any], photo: bytes, form: dict[str, Any], status: int, message: str) -> None:
    fields = {"image": photo, "labels": LABELS, **form} if form else {"labels": LABELS}
    files = {name: value for name, value in fields.items() if isinstance(value, bytes)}
    # Always a form of several parts.
    texts = {name: (None, value) for name, value in fields.items() if isinstance(value, str)}
    reply = ask(SEGMENT, files={**files, **texts})
    assert (reply.status_code, reply.json()["error"]["code"]) == (
        status,
        {415: "unsupported_media_type", 422: "invalid"}[status],
    )
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"x", "text/plain", 415, "text/plain"),
        (b"x", "", 415, "of no type"),
        (b"x", "multipart/form-data", 400, "cannot be read"),
        (b"x", "multipart/form-data; boundary=y", 400, "cannot be read"),
        (b"{", "application/json", 400, "no JSON"),
        (b"[" * 100_000, "application/json", 400, "no JSON"),
        (b"[]", "application/json", 422, "a JSON object"),
        (b"{}", "application/json", 422, "Give `image`"),
        (b'{"image": "?"}', "application/json", 422, "no base64"),
        (b'{"image": 3}', "application/json", 422, "`image`"),
        (b'{"image_url": "http://example.org/a.png"}', "application/json", 422, "fetches no photos"),
        (b'{"image": "AAAA", "labels": {"star": 1}}', "application/json", 422, "`labels`"),
    ],
)
def test_bad_bodies(ask: Callable[..., Any], content: bytes, kind: str, status: int, message: str) -> None:
    reply = ask(SEGMENT, content=content, headers={"content-type": kind})
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


def test_a_field_that_is_given_twice(ask: Callable[..., Any], photo: bytes) -> None:
    reply = ask(SEGMENT, files=[("image", photo), ("labels", (None, "star")), ("labels", (None, "moon"))])
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        422,
        "`labels` is given several times: give it once.",
    )


def test_large_photos(ask: Callable[..., Any], model: ServedModel, photo: bytes) -> None:
    many_pixels = png(Image.new("RGB", (400, 251)))
    assert ask(SEGMENT, files={"image": many_pixels}, data={"labels": LABELS}).status_code == 413
    many_bytes = client(ServiceSettings(max_photo_bytes=1000), LocalBackend(model)).post
    assert many_bytes(SEGMENT, files={"image": photo}, data={"labels": LABELS}).status_code == 413
    announced = many_bytes(
        SEGMENT, content=b"x", headers={"content-length": "10000000", "content-type": "application/json"}
    )
    assert announced.status_code == 413

    def unannounced() -> Iterator[bytes]:
        yield b'--y\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
        yield from [b"x" * 1000] * 1000

    kind = {"content-type": "multipart/form-data; boundary=y"}
    assert many_bytes(SEGMENT, content=unannounced(), headers=kind).status_code == 413


def test_a_damaged_photo(ask: Callable[..., Any], photo: bytes) -> None:
    reply = ask(SEGMENT, files={"image": photo[: len(photo) // 2]}, data={"labels": LABELS})
    assert reply.status_code == 422
    assert "`image` cannot be read as a picture" in reply.json()["error"]["message"]


def test_keys(tmp_path: Path, model: ServedModel, photo: bytes) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("first-key\nsecond-key\n")
    settings = ServiceSettings(api_key_file=str(path))
    web = client(settings, LocalBackend(model))
    body = {"files": {"image": photo}, "data": {"labels": LABELS}}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "first-ke"}, {"authorization": "first-key"}):
        refused = web.post(SEGMENT, **body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        assert web.get("/v1/model", headers=headers).status_code == 401
    for headers in ({"authorization": "Bearer second-key"}, {"x-api-key": "first-key"}):
        assert web.post(SEGMENT, **body, headers=headers).status_code == 200
    assert web.get("/healthz").status_code == 200
    path.write_text("\n")
    with pytest.raises(ValueError, match="has no keys"):
        settings.api_keys()
    path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        settings.api_keys()


def test_too_many_and_too_slow(photo: bytes) -> None:
    from httpx import ASGITransport, AsyncClient

    settings, backend = ServiceSettings(max_waiting=2, timeout=0.5), StuckBackend()
    gate = Gate(settings, Metrics())
    transport = ASGITransport(make_api(settings, backend, gate))

    async def talk() -> list[tuple[int, str]]:
        async with AsyncClient(transport=transport, base_url="http://service") as web:
            replies = await asyncio.gather(
                *(web.post("/v1/segment", files={"image": photo}, data={"labels": LABELS}) for _ in range(3))
            )
            await gate.close()
            replies.append(await web.post("/v1/segment", files={"image": photo}))
            replies.append(await web.get("/readyz"))
        return sorted((reply.status_code, reply.json()["error"]["message"][:30]) for reply in replies)

    assert asyncio.run(talk()) == [
        (429, "2 requests wait already: try a"),
        (503, "No model is ready yet."),
        (503, "The request took more than 0.5"),
        (503, "The request took more than 0.5"),
        (503, "The service is about to end: a"),
    ]
    assert backend.num_asked == 2


def test_callers_that_left_are_no_failures(photo: bytes) -> None:
    from httpx import ASGITransport, AsyncClient

    settings, backend = ServiceSettings(), StuckBackend()
    gate = Gate(settings, Metrics())
    api = make_api(settings, backend, gate)
    body = b'--y\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
    parts = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": SEGMENT, "query_string": b"", "headers": []}
    scope["headers"] = [(b"content-type", b"multipart/form-data; boundary=y")]

    async def leave() -> str:
        async with AsyncClient(transport=ASGITransport(api), base_url="http://service") as web:
            # While the model works on it.
            call = asyncio.create_task(web.post(SEGMENT, files={"image": photo}, data={"labels": LABELS}))
            while not backend.num_asked:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

            # In the middle of the upload.
            async def receive() -> dict[str, Any]:
                return next(parts)

            async def send(message: dict[str, Any]) -> None:
                pass

            await api(scope, receive, send)
            return (await web.get("/metrics")).text

    figures = asyncio.run(leave())
    assert 'catseg_requests_total{status="499"} 2.0' in figures and 'status="500"' not in figures
    assert "catseg_requests_waiting 0.0" in figures and backend.num_asked == 1


def test_a_failure_shows_nothing_of_the_machine(photo: bytes) -> None:
    class FailingBackend(StuckBackend):
        async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
            raise RuntimeError("/srv/models/model.safetensors")

    web = client(ServiceSettings(), FailingBackend())
    reply = web.post(SEGMENT, files={"image": photo})
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal")
    assert "srv" not in reply.text
    assert 'catseg_requests_total{status="500"} 1.0' in web.get("/metrics").text


def test_what_else_there_is(model: ServedModel, photo: bytes) -> None:
    web = client(model.settings, LocalBackend(model))
    described = web.get("/v1/model").json()
    assert described["name"] == "tiny" and len(described["weights"]) == 64
    assert described["limits"]["max_photo_pixels"] == 100_000
    assert "red circle" in described["vocabulary"]
    assert web.post(SEGMENT, files={"image": photo}, data={"labels": LABELS}).status_code == 200
    figures = web.get("/metrics").text
    assert 'catseg_requests_total{status="200"} 1.0' in figures and "catseg_request_seconds_count 1.0" in figures
    assert web.get("/healthz").json() == web.get("/readyz").json() == {"status": "ok"}
    for path, status in (("/nothing", 404), ("/v1/segment", 405)):
        assert (web.get(path).status_code, "error" in web.get(path).json()) == (status, True)


def test_the_documentation_has_all_fields(model: ServedModel) -> None:
    document = client(model.settings, LocalBackend(model)).get("/openapi.json").json()
    operation = document["paths"]["/v1/segment"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content["multipart/form-data"]["schema"]["properties"]) == {
        "image",
        "labels",
        "others",
        "threshold",
        "background",
        "format",
        "views",
    }
    assert "image_url" in content["application/json"]["schema"]["properties"]
    assert set(operation["responses"]) == {"200", "400", "401", "413", "415", "422", "429", "503"}


def test_photos_from_the_web(model: ServedModel, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServiceSettings(allow_urls=True, max_photo_bytes=len(photo))
    ask = client(settings, LocalBackend(model)).post
    pages = {"/a.png": photo, "/large.png": photo + b"x", "/moved": "/a.png", "/loop": "/loop"}
    with LoopbackWeb(pages) as web:
        for address in (f"{web.address}/a.png", web.address.replace("127.0.0.1", "localhost"), "http://[::1]/a.png"):
            reply = ask(SEGMENT, json={"image_url": address, "labels": LABELS})
            assert (reply.status_code, "public address" in reply.json()["error"]["message"]) == (422, True)
        assert web.asked == []
        reply = ask(SEGMENT, json={"image_url": "file:///etc/passwd"})
        assert "http:// or https://" in reply.json()["error"]["message"]

        # What follows needs an address that counts as public.
        monkeypatch.setattr(web_photos, "is_public", lambda host: True)
        expected = ask(SEGMENT, files={"image": photo}, data={"labels": LABELS}).content
        for path in ("/a.png", "/moved"):
            assert ask(SEGMENT, json={"image_url": web.address + path, "labels": LABELS}).content == expected
        assert ask(SEGMENT, json={"image_url": f"{web.address}/large.png"}).status_code == 413
        for path in ("/missing", "/loop"):
            assert ask(SEGMENT, json={"image_url": web.address + path}).status_code == 422

        # A redirect into a private network.
        monkeypatch.setattr(web_photos, "is_public", lambda host: host != "127.0.0.2")
        pages["/inside"] = web.address.replace("127.0.0.1", "127.0.0.2") + "/a.png"
        web.asked.clear()
        reply = ask(SEGMENT, json={"image_url": f"{web.address}/inside"})
        assert (reply.status_code, web.asked) == (422, ["/inside"])


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address: str, is_public: bool) -> None:
    assert web_photos.is_public(address) == is_public
