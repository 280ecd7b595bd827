# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A Ray to work on: one of this machine, started for the command, or a cluster that runs already."""

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


TIMEOUT_SECONDS = 10
LOOPBACK = "127.0.0.1"
# What runs here is nobody else's business, and what matters to a user is raised.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """What is in the block runs on Ray.

    A Ray that is started here is closed to everybody else: its processes listen at the loopback address only, they ask
    for a token that exists nowhere but in their environment, and their files lie in a folder that others cannot enter.

    Args:
        address (`str`, *optional*):
            Of a cluster: `auto` (the one that this machine belongs to), `host:6379`, or `ray://host:10001`. By default
            a Ray is started on this machine, with all its cores and GPUs, and ends with the block.

    Raises:
        RuntimeError: If the Ray that was started would listen elsewhere.
        ValueError: If Ray is not installed, or the cluster does not answer.
    """
    with _environment({name: os.environ.get(name, value) for name, value in QUIET.items()}):
        try:
            import ray
        except ImportError as error:
            raise ValueError('This needs Ray: pip install "catseg-hf[serve]"') from error
        _check_answers(address)
        with _own_ray() if address is None else _cluster(address):
            try:
                yield
            finally:
                ray.shutdown()


@contextmanager
def _own_ray() -> Iterator[None]:
    import ray

    # Paths of sockets have little room, which macOS' folder for temporary files takes alone. In it, Ray's own folder is
    # one that everybody may write to.
    parent = os.environ.get("RAY_TMPDIR", "/tmp" if sys.platform == "darwin" else None)
    with (
        tempfile.TemporaryDirectory(prefix="catseg-ray-", dir=parent, ignore_cleanup_errors=True) as folder,
        _token(secrets.token_hex(32)),
    ):
        with _silent(), _loopback():
            ray.init(
                address="local",
                include_dashboard=False,
                logging_level="error",
                log_to_driver=False,
                _node_ip_address=LOOPBACK,
                _temp_dir=os.path.join(folder, "ray"),
            )
        if ray.util.get_node_ip_address() != LOOPBACK:
            ray.shutdown()
            raise RuntimeError(f"Ray {ray.__version__} does not keep to {LOOPBACK}: install Ray 2.60.")
        yield


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    import ray

    try:
        with _silent():
            ray.init(address=address, logging_level="error", log_to_driver=False)
    except ConnectionError as error:
        raise ValueError(
            f"There is no Ray at --address {address}, or it does not know this program: {error}. Clusters that ask for "
            "a token take it with the environment variables RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or from "
            "~/.ray/auth_token; on a machine of the cluster, --address auto finds both."
        ) from error
    yield


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the block, and for processes that are started in it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _token(token: str) -> Iterator[None]:
    """A token that all processes of the block's Ray ask for, whatever the environment says of others."""
    from ray._raylet import AuthenticationTokenLoader, Config

    def read_again() -> None:
        # Ray reads the environment once.
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()

    try:
        with _environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}):
            read_again()
            yield
    finally:
        read_again()


@contextmanager
def _loopback() -> Iterator[None]:
    """Ray replaces the loopback address by one that others see, but where it may have no cluster, as on macOS."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _silent() -> Iterator[None]:
    """Ray's part in C++ writes to the terminal itself, such as that it was told to be quiet."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _check_answers(address: str | None) -> None:
    """Ray itself goes on asking for minutes."""
    if address in (None, "auto"):
        return
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        if parts.hostname is None or parts.port is None:
            raise ValueError("It must be auto, host:port or ray://host:port.")
        socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(f"There is no Ray at --address {address}: {error}") from error


__all__ = ["LOOPBACK", "ray_session"]
