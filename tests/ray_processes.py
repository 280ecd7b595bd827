# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the processes of a command that runs on Ray listen to, and whom they let in."""

import os
import subprocess
import sys
import tempfile
from typing import Any

import psutil


# As each program begins that wants to work on a Ray.
STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1])
    print("let in")
except Exception as error:
    print(type(error).__name__)
"""


def family(pid: int) -> list[psutil.Process]:
    """A process and all that come from it."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def listening(pid: int) -> list[tuple[str, Any]]:
    """Title and address of what a process and its children listen to, over TCP or UDP."""
    found = []
    for process in family(pid):
        try:
            title, sockets = " ".join(process.cmdline()), process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for each in sockets:
            if each.status == psutil.CONN_LISTEN or not each.raddr:
                # Also where a socket of IPv6 listens to an address of IPv4 only.
                found.append((title, each.laddr._replace(ip=each.laddr.ip.removeprefix("::ffff:"))))
    return found


def token_of(pid: int) -> str:
    """The token of a Ray that a command started, as its children have it."""
    (token,) = {child.environ().get("RAY_AUTH_TOKEN") for child in psutil.Process(pid).children()}
    return token


def answer_to_a_stranger(port: int, token: str | None) -> str:
    """What a program of somebody else is told by a Ray of this machine: "let in", or the error's name."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    if token is not None:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    with tempfile.TemporaryDirectory() as home:
        program = [sys.executable, "-c", STRANGER, f"127.0.0.1:{port}"]
        result = subprocess.run(program, env={**environment, "HOME": home}, capture_output=True, text=True, timeout=120)
    return result.stdout.strip()


__all__ = ["answer_to_a_stranger", "family", "listening", "token_of"]
