# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg serve` itself: processes of Ray, HTTP over loopback, many callers, and a replica that is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import httpx
import psutil

from catseg_hf.cli import main
from catseg_hf.formats import find_format
from catseg_hf.scenes import COLORS, SHAPES, draw_scene
from catseg_hf.service.requests import SegmentRequest
from catseg_hf.service.served_model import ServedModel
from catseg_hf.service.settings import ServiceSettings


# Each starts several Rays, which takes a slow machine minutes.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

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


def waiting(service: Service) -> int:
    return int(float(re.search(r"requests_waiting ([\d.]+)", httpx.get(f"{service.address}/metrics").text)[1]))


def photo_of(seed: int, size: int = 128) -> bytes:
    file = BytesIO()
    draw_scene(seed, size).image.save(file, format="PNG")
    return file.getvalue()


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
    with ThreadPoolExecutor(12) as callers:
        replies = [callers.submit(service.ask, photo, "star, ground") for _ in range(12)]
        wait_for(lambda: waiting(service) >= 3)
        inside = waiting(service)
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
