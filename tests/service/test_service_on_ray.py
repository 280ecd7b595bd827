# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg serve` itself: processes of Ray, HTTP over loopback, many callers, and a replica that is killed."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import httpx
from fastapi.testclient import TestClient
from ray.exceptions import TaskCancelledError

from catseg_hf.cli import main
from catseg_hf.formats import find_format
from catseg_hf.scenes import COLORS, SHAPES
from catseg_hf.service.api import make_api
from catseg_hf.service.application import DisconnectMiddleware, RayBackend
from catseg_hf.service.gate import Gate, Metrics
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings
from tests.ray_processes import answer_to_a_stranger, listening, token_of
from tests.service.running_service import Service, photo_of, running_service, wait_for


# Each starts several Rays, which takes a slow machine minutes.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def answers_by_status(service: Service) -> Counter[str]:
    figures = httpx.get(f"{service.address}/metrics").text
    found = re.findall(r'catseg_requests_total\{status="(\d+)"\} ([\d.]+)', figures)
    return Counter({status: int(float(number)) for status, number in found})


def waiting(service: Service) -> int:
    return int(float(re.search(r"requests_waiting ([\d.]+)", httpx.get(f"{service.address}/metrics").text)[1]))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("service") / "log.txt"
    with running_service(log, "--replicas", "2", "--max-waiting", "20", "--max-megabytes", "0.5") as running:
        yield running


def test_nobody_gets_the_answer_of_another(service: Service) -> None:
    words = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    vocabularies = [[*words[index : index + 2 + index % 3], "ground"] for index in range(16)]
    photos = [photo_of(seed) for seed in range(16)]
    # As each would be computed alone, by another process.
    model = ServedModel(ServiceSettings(model="tiny"))
    requests = [
        SegmentRequest(photo, labels, None, None, "json") for photo, labels in zip(photos, vocabularies, strict=True)
    ]
    answer = find_format("json").answer
    expected = [answer(model.segment([model.prepare(request)])[0], "tiny") for request in requests]
    assert len(set(expected)) == 16

    def call(caller: int) -> list[bytes]:
        return [service.ask(photos[caller], ", ".join(vocabularies[caller])).content for _ in range(20)]

    with ThreadPoolExecutor(16) as callers:
        for answers, right in zip(callers.map(call, range(16)), expected, strict=True):
            assert answers == [right] * 20


def test_a_replica_that_is_killed_takes_nothing_with_it_but_what_it_held(service: Service) -> None:
    wait_for(lambda: len(service.replicas()) == 2)
    photo = photo_of(0)
    expected = service.ask(photo, "star, ground").content
    statuses: Counter[int] = Counter()
    victim = service.replicas()[0]

    def call(caller: int) -> None:
        for turn in range(12):
            if caller == 0 and turn == 4:
                victim.kill()
            reply = service.ask(photo, "star, ground")
            statuses[reply.status_code] += 1
            assert (reply.content == expected) == (reply.status_code == 200)
            if reply.status_code != 200:
                assert reply.json()["error"]["code"] == "unavailable"

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(call, range(8)))
    # Each replica holds one request that is worked on and one that waits for it.
    assert sum(statuses.values()) == 96 and statuses[503] <= 2 and set(statuses) <= {200, 503}
    wait_for(lambda: len(service.replicas()) == 2 and victim.pid not in [each.pid for each in service.replicas()])
    assert service.ask(photo, "star, ground").content == expected


def test_more_requests_than_may_wait_are_refused_at_once(service: Service) -> None:
    photo = photo_of(0, 512)
    is_refused = Event()

    def ask_until_one_is_refused(_: int) -> list[httpx.Response]:
        # Again and again, so that all of them wait at the same time sooner or later, however slowly they start.
        replies = []
        while not is_refused.is_set() and len(replies) < 20:
            replies.append(service.ask(photo, "star, ground"))
            if replies[-1].status_code != 200:
                is_refused.set()
        return replies

    with ThreadPoolExecutor(60) as callers:
        replies = [reply for each in callers.map(ask_until_one_is_refused, range(60)) for reply in each]
    statuses = Counter(reply.status_code for reply in replies)
    assert set(statuses) == {200, 429} and statuses[200] >= 20
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["error"]["code"] == "too_busy" and "Retry-After" in refused.headers


def test_a_photo_without_end_is_refused(service: Service) -> None:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=60)

    def parts() -> Iterator[bytes]:
        yield b'--y\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100_000):  # 1 GB
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=y", "Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/v1/segment", body=parts(), headers=headers, encode_chunked=True)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the service did not wait for the rest, and its answer may be lost with the connection
    else:
        raise AssertionError("The service read everything.")
    finally:
        connection.close()
    assert service.ask(photo_of(0), "star, ground").status_code == 200


def test_nothing_of_its_ray_listens_beyond_this_machine(service: Service) -> None:
    found = listening(service.process.pid)
    assert {address.ip for _, address in found} == {"127.0.0.1"}
    assert len([title for title, _ in found if "ServeReplica" in title]) >= 3
    (ray_port,) = (address.port for title, address in found if "gcs_server" in title)
    assert answer_to_a_stranger(ray_port, None) == answer_to_a_stranger(ray_port, "wrong") == "AuthenticationError"
    assert answer_to_a_stranger(ray_port, token_of(service.process.pid)) == "let in"


def test_the_service_listens_where_it_is_told_and_nothing_else_does(tmp_path: Path) -> None:
    with running_service(tmp_path / "log.txt", "--host", "0.0.0.0") as open_one:
        found = listening(open_one.process.pid)
        beyond = [address for _, address in found if address.ip != "127.0.0.1"]
        assert [(address.ip, address.port) for address in beyond] == [("0.0.0.0", open_one.port)]


def test_callers_that_left_are_counted_so_and_nothing_is_computed_for_them(service: Service) -> None:
    wait_for(lambda: len(service.replicas()) == 2)
    photo = photo_of(0, 1024, "JPEG")

    def seconds() -> float:
        return sum(sum(replica.cpu_times()[:2]) for replica in service.replicas())

    service.ask(photo, "star")
    start = seconds()
    for _ in range(3):
        service.ask(photo, "star")
    of_one = (seconds() - start) / 3
    before, start = answers_by_status(service), seconds()
    request = httpx.Request("POST", f"{service.address}/v1/segment", files={"image": photo}, data={"labels": "star"})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    message = f"POST /v1/segment HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    callers = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(18)]
    for caller in callers:
        caller.sendall(message)
    wait_for(lambda: waiting(service) >= 12)
    for caller in callers:
        caller.close()
    wait_for(lambda: waiting(service) == 0)
    wait_for(lambda: sum((answers_by_status(service) - before).values()) == 18)
    counts = answers_by_status(service) - before
    assert set(counts) <= {"200", "499"} and counts["499"] >= 10, counts
    assert service.ask(photo, "star").status_code == 200
    # Beside the answers, what each of the two replicas worked on and what it had read.
    assert seconds() - start < (counts["200"] + 1 + 5) * of_one


def test_an_upload_that_ray_gave_up_is_one_whose_caller_left() -> None:
    gate = Gate(ServiceSettings(), Metrics())
    api = make_api(gate.settings, RayBackend(None), gate)
    api.add_middleware(DisconnectMiddleware)
    scope = {"type": "http", "method": "POST", "path": "/v1/segment", "query_string": b""}
    scope["headers"] = [(b"content-type", b"multipart/form-data; boundary=y")]
    sent = []

    async def receive() -> dict[str, Any]:
        raise TaskCancelledError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(api(scope, receive, send))
    assert sent[0]["status"] == 499
    assert b'catseg_requests_total{status="499"} 1.0' in gate.metrics.response().body


def test_what_takes_too_long_is_not_worked_on_any_more() -> None:
    class Response:
        """Of a replica that never answers."""

        is_cancelled = False

        def __await__(self) -> Iterator[Any]:
            return asyncio.Event().wait().__await__()

        def cancel(self) -> None:
            self.is_cancelled = True

    response = Response()
    backend = RayBackend(SimpleNamespace(segment=SimpleNamespace(remote=lambda request: response)))
    settings = ServiceSettings(timeout=0.2)
    web = TestClient(make_api(settings, backend, Gate(settings, Metrics())))
    reply = web.post("/v1/segment", files={"image": photo_of(0)})
    assert reply.status_code == 503 and response.is_cancelled


def test_state(service: Service) -> None:
    assert httpx.get(f"{service.address}/readyz").json() == {"status": "ok"}
    described = httpx.get(f"{service.address}/v1/model").json()
    assert described["name"] == "tiny" and described["limits"]["max_photo_bytes"] == 2**19
    assert "catseg_photos_together_count" in httpx.get(f"{service.address}/metrics").text


def test_ctrl_c_finishes_what_runs(tmp_path: Path) -> None:
    with running_service(tmp_path / "log.txt") as alone:
        # A terminal sends it to all processes.
        check_that_it_finishes(alone, lambda: os.killpg(alone.process.pid, signal.SIGINT))


def test_sigterm_finishes_what_runs(service: Service) -> None:
    # The last test of this service.
    check_that_it_finishes(service, service.process.terminate)


def check_that_it_finishes(service: Service, end: Callable[[], None]) -> None:
    photo = photo_of(0, 512)
    expected = service.ask(photo, "star, ground").content
    is_ending = Event()

    def ask() -> httpx.Response:
        # Again and again: a fast machine would be done before anybody sees them wait.
        while True:
            answer = service.ask(photo, "star, ground")
            if is_ending.is_set():
                return answer

    with ThreadPoolExecutor(12) as callers:
        replies = [callers.submit(ask) for _ in range(12)]
        try:
            wait_for(lambda: waiting(service) >= 3)
            inside = waiting(service)
        finally:
            is_ending.set()
        end()
        answers = [reply.result() for reply in replies]
    # All that were inside are answered; those that came too late are told so.
    assert sum(answer.content == expected for answer in answers) >= max(inside, 3)
    late = [answer for answer in answers if answer.content != expected]
    assert all(answer.status_code == 503 and "about to end" in answer.text for answer in late)
    assert service.process.wait(60) == 0
    assert "Finishing what runs" in service.log.read_text()
    assert "Traceback" not in service.log.read_text()


def test_what_cannot_be_started_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("")
    for options, message in [
        (["--model", str(tmp_path)], "has no config.json"),
        (["--model", "tiny", "--api-key-file", str(keys)], "has no keys"),
        (["--model", "tiny", "--address", "127.0.0.1:1"], "There is no Ray at --address"),
        (["--model", "tiny", "--device", "cuda:9"], "no device 'cuda:9'"),
    ]:
        monkeypatch.setattr(sys, "argv", ["catseg", "serve", *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        assert message in capsys.readouterr().err
