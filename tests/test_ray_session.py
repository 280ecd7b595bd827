# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A Ray that is started here: closed to everybody else, and gone without a trace when it ends."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import ray

from catseg_hf.ray_session import ray_session
from tests.ray_processes import answer_to_a_stranger, family, listening, token_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For temporary files; its path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_of_this_machine_is_closed_to_others(home: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the user has for another Ray is left alone.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    before, tokens = settings(), []
    for _ in range(2):
        with ray_session():
            assert ray.get(ray.remote(lambda: os.getpid()).remote()) in [process.pid for process in family(os.getpid())]
            found = listening(os.getpid())
            assert {address.ip for _, address in found} == {"127.0.0.1"} and len(found) > 8
            token = token_of(os.getpid())
            tokens.append(token)
            assert len(token) == 64
            assert not [process for process in family(os.getpid()) if token in " ".join(process.cmdline())]
            (port,) = (address.port for title, address in found if "gcs_server" in title)
            for other in (None, "wrong", tokens[0] if len(tokens) > 1 else "0" * 64):
                assert answer_to_a_stranger(port, other) == "AuthenticationError"
            assert answer_to_a_stranger(port, token) == "let in"
            (folder,) = place.glob("catseg-ray-*")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert files and not [path for path in files if token.encode() in path.read_bytes()]
        assert settings() == before and not list(home.iterdir()) and not ray.is_initialized()
        assert not folder.exists()
    assert tokens[0] != tokens[1]


def test_a_ray_that_would_listen_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.1")
    with pytest.raises(RuntimeError, match="does not keep to 127.0.0.1"), ray_session():
        pass
    assert settings() == before


def test_settings_of_a_cluster_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "that of the cluster")
    asked = []
    monkeypatch.setattr(ray, "init", lambda **options: asked.append((options, settings())))
    with ray_session("auto"):
        pass
    ((options, environment),) = asked
    assert options == {"address": "auto", "logging_level": "error", "log_to_driver": False}
    assert environment["RAY_AUTH_TOKEN"] == "that of the cluster" and "RAY_AUTH_MODE" not in environment
