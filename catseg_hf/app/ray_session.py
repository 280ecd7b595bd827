# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A Ray to work on: one of this machine, started for the command, or a cluster that runs already."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


TIMEOUT_SECONDS = 10


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """What is in the block runs on Ray.

    Args:
        address (`str`, *optional*):
            Of a cluster: `auto` (the one that this machine belongs to), `host:6379`, or `ray://host:10001`. By default
            a Ray is started on this machine, with all its cores and GPUs, and ends with the block.

    Raises:
        ValueError: If Ray is not installed, or the cluster does not answer.
    """
    # What runs here is nobody else's business.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What matters to a user is raised.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ImportError as error:
        raise ValueError('This needs Ray: pip install "catseg-hf[serve]"') from error
    _check_answers(address)
    options = {"address": "local", "include_dashboard": False} if address is None else {"address": address}
    try:
        with _silent():
            ray.init(**options, logging_level="error", log_to_driver=False)
    except ConnectionError as error:
        raise ValueError(
            f"There is no Ray at --address {address}, or it does not know this program: {error}. Clusters that ask for "
            "a token take it with the environment variables RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or from "
            "~/.ray/auth_token; on a machine of the cluster, --address auto finds both."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


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


__all__ = ["ray_session"]
