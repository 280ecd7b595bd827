# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Callers of all kinds for a while: what the service holds at the end is what it held at the beginning.

`CATSEG_SOAK_SECONDS=600 pytest -m ray -k soak` takes ten minutes for it; `-s` prints the figures.
"""

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import httpx
import psutil

from tests.ray_processes import family
from tests.service.running_service import Service, photo_of, running_service, wait_for


SECONDS = float(os.environ.get("CATSEG_SOAK_SECONDS", "40"))
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900 + 2 * SECONDS)]

WORDS = ["star", "moon", "circle", "square", "something red", "something blue"]
# What a process may hold more than at the beginning: pools of threads fill, and Ray connects its processes as it goes.
MORE_FILES, MORE_THREADS, MORE_SOCKETS = 8, 8, 6
# The size of a process depends on which photos were decoded at a time. Something of each large photo, if it were kept,
# would take more.
MORE_MEGABYTES = 120
# Before that, each process reaches its size: the most of so many rounds is what it holds at the beginning.
ROUNDS = 3


class Holdings(NamedTuple):
    """What a process holds."""

    megabytes: float
    files: int
    threads: int
    sockets: int


def holdings(service: Service) -> dict[tuple[int, str], Holdings]:
    """Of each process of the service, by its number and title."""
    found = {}
    for process in family(service.process.pid):
        try:
            title = " ".join(process.cmdline())
            if title.startswith("ray::IDLE"):  # comes and goes
                continue
            with process.oneshot():
                # Of a process of Ray, without what it does at the moment.
                name = title.partition(".")[0] if title.startswith("ray::") else title
                found[process.pid, name[:60].strip()] = Holdings(
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                    len(process.net_connections("inet")),
                )
        except psutil.NoSuchProcess:
            continue
    return found


class Callers:
    """Callers of all kinds, and what came of their calls.

    Args:
        service (`Service`): Whom they ask.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.address = f"{service.address}/v1/segment"
        self.photos = [photo_of(seed) for seed in range(4)]
        self.large = photo_of(4, 1536, "JPEG")
        self.expected = [self.ask(photo, "star, moon, ground").content for photo in self.photos]
        self.outcomes: Counter[str] = Counter()

    def ask(self, photo: bytes, labels: str, **options: object) -> httpx.Response:
        return httpx.post(self.address, files={"image": photo}, data={"labels": labels}, **{"timeout": 120, **options})

    def run(self, seconds: float) -> None:
        kinds = [self.patient, self.patient, self.impatient, self.hostile, self.slow, self.large_one]
        end = time.monotonic() + seconds

        def call(kind: Callable[[random.Random], str], seed: int) -> None:
            dice = random.Random(seed)
            while time.monotonic() < end:
                self.outcomes[f"{kind.__name__} {kind(dice)}"] += 1

        with ThreadPoolExecutor(len(kinds)) as pool:
            list(pool.map(call, kinds, range(len(kinds))))

    def patient(self, dice: random.Random) -> str:
        if dice.random() < 0.5:  # of words that nobody asked for before
            labels = f"{dice.choice(WORDS)} {dice.randrange(10**9)}, ground"
            return str(self.ask(dice.choice(self.photos), labels).status_code)
        index = dice.randrange(len(self.photos))
        reply = self.ask(self.photos[index], "star, moon, ground")
        assert reply.status_code != 200 or reply.content == self.expected[index]
        return str(reply.status_code)

    def impatient(self, dice: random.Random) -> str:
        """Leaves while the answer is computed, or in the middle of the upload."""
        body, head = self._message(dice.choice(self.photos))
        with socket.create_connection(("127.0.0.1", self.service.port), 60) as caller:
            caller.sendall(head + (body if dice.random() < 0.7 else body[: dice.randrange(len(body))]))
            time.sleep(dice.uniform(0, 0.1))
        return "left"

    def hostile(self, dice: random.Random) -> str:
        bodies = [
            {"content": b"[" * 50_000, "headers": {"content-type": "application/json"}},
            {"content": dice.randbytes(20_000), "headers": {"content-type": "multipart/form-data; boundary=x"}},
            {"files": {"image": dice.randbytes(10_000)}},
            {"files": {"image": self.photos[0][: dice.randrange(1, 8000)]}, "data": {"labels": "star"}},
            {"files": {"image": self.photos[0]}, "data": {"labels": ", ".join(map(str, range(300)))}},
            {"json": {"image": "?", "labels": [["a"] * 1000]}},
            {"files": {"image": bytes(600_000)}},
            None,
        ]
        body = dice.choice(bodies)
        if body is None:
            with socket.create_connection(("127.0.0.1", self.service.port), 60) as caller:
                caller.sendall(dice.randbytes(500) + b"\r\n\r\n")
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(4096):
                    pass
            return "noise"
        try:
            return str(httpx.post(self.address, timeout=120, **body).status_code)
        except httpx.TransportError:  # the service did not wait for all of a body that is too large
            return "cut off"

    def slow(self, dice: random.Random) -> str:
        body, head = self._message(dice.choice(self.photos))
        with socket.create_connection(("127.0.0.1", self.service.port), 120) as caller:
            caller.sendall(head)
            for start in range(0, len(body), len(body) // 20 + 1):
                caller.sendall(body[start : start + len(body) // 20 + 1])
                time.sleep(0.05)
            return caller.recv(4096).split()[1].decode()

    def large_one(self, dice: random.Random) -> str:
        return str(self.ask(self.large, ", ".join([*dice.sample(WORDS, 3), "ground"])).status_code)

    def _message(self, photo: bytes) -> tuple[bytes, bytes]:
        request = httpx.Request("POST", self.address, files={"image": photo}, data={"labels": "star, moon, ground"})
        fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        return request.read(), f"POST /v1/segment HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path / "log.txt", "--max-megabytes", "0.5", "--max-waiting", "8") as running:
        yield running


def quiet_holdings(service: Service) -> dict[tuple[int, str], Holdings]:
    wait_for(lambda: "catseg_requests_waiting 0.0" in httpx.get(f"{service.address}/metrics").text)
    time.sleep(8)  # connections that nobody uses are closed after 5 seconds
    return holdings(service)


def test_soak(service: Service) -> None:
    callers = Callers(service)
    rounds = []
    for _ in range(ROUNDS):
        callers.run(max(20, SECONDS / 10))
        rounds.append(quiet_holdings(service))
    before = {process: Holdings(*map(max, *(each[process] for each in rounds))) for process in rounds[-1]}
    assert all(each.keys() == before.keys() for each in rounds)
    callers.outcomes.clear()
    callers.run(SECONDS)
    after = quiet_holdings(service)
    report = "\n".join([str(dict(sorted(callers.outcomes.items()))), *_lines(before, after)])
    print(report)
    # Nothing ended or was started in between.
    assert before.keys() == after.keys(), report
    for process, first in before.items():
        more = Holdings(*(new - old for new, old in zip(after[process], first, strict=True)))
        assert more.megabytes <= MORE_MEGABYTES, report
        assert more.files <= MORE_FILES and more.threads <= MORE_THREADS and more.sockets <= MORE_SOCKETS, report
    assert all(callers.outcomes[f"{kind} 200"] for kind in ("patient", "slow", "large_one")), report
    assert not [outcome for outcome in callers.outcomes if outcome.endswith(" 500")], report
    figures = httpx.get(f"{service.address}/metrics").text
    assert 'status="500"' not in figures and 'status="499"' in figures


def _lines(before: dict[tuple[int, str], Holdings], after: dict[tuple[int, str], Holdings]) -> Iterator[str]:
    for process in sorted(before.keys() | after.keys()):
        first, last = before.get(process), after.get(process)
        yield f"{process}: {first} -> {last}"
