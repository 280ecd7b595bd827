# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Commands in processes of their own that are killed, or whose disk is full.

All are forked from one server that has imported everything, so that each starts in milliseconds.
"""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]
FINETUNE = str(ROOT / "examples" / "finetune.py")
# Longer than anything here takes; what hangs ends with an error.
LONGEST_SECONDS = 60
# What Python tells of before files and folders are changed, beside opening a file to write.
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate")


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Args:
        code (`int`): Its exit code, or minus the number of the signal that ended it.
        printed (`str`): Its output and errors.
        seconds (`float`): How long it ran.
        events (`int`): How often it was about to change files or folders.
    """

    code: int
    printed: str
    seconds: float
    events: int


def run(
    command: Sequence[object],
    *,
    kill_at: int | None = None,
    kill_after: float | None = None,
    file_bytes: int | None = None,
) -> Ended:
    """Runs `catseg ...`, or a script and its arguments.

    Args:
        command (`Sequence[object]`): The words of the command.
        kill_at (`int`, *optional*): At which change of files, counted from 1, it gets SIGKILL.
        kill_after (`float`, *optional*): How many seconds later it gets SIGKILL instead, whatever it does then.
        file_bytes (`int`, *optional*): No file can grow beyond so many bytes, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.robustness.preloaded"])
    reader, writer = context.Pipe(duplex=False)
    words = [str(word) for word in command]
    events = context.Value("i", 0)
    process = context.Process(
        target=_run_here, args=(words, writer, events, kill_at if kill_after is None else None, file_bytes)
    )
    start = time.monotonic()
    process.start()
    writer.close()
    if kill_after is not None:
        while process.is_alive() and events.value < kill_at:
            time.sleep(0.001)
        process.join(kill_after)
        process.kill()
    process.join(LONGEST_SECONDS)
    hangs = process.is_alive()
    process.kill()
    process.join()
    seconds = time.monotonic() - start
    # What is there: a child of a killed process can keep the other end open for some seconds more.
    os.set_blocking(reader.fileno(), False)
    with os.fdopen(os.dup(reader.fileno()), "rb", buffering=0) as stream:
        printed = (stream.readall() or b"").decode(errors="replace")
    reader.close()
    assert not hangs, f"{words} still ran after {LONGEST_SECONDS} s: {printed}"
    return Ended(process.exitcode, printed, seconds, events.value)


def _run_here(words: list[str], writer: Connection, events: Any, kill_at: int | None, file_bytes: int | None) -> None:
    for stream in (1, 2):
        os.dup2(writer.fileno(), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    _count_changes(events, kill_at)
    sys.argv = words
    if words[0] == "catseg":
        from catseg_hf.cli import main

        main()
    else:
        runpy.run_path(words[0], run_name="__main__")


def _count_changes(events: Any, kill_at: int | None) -> None:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            events.value += 1
            if events.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


__all__ = ["FINETUNE", "Ended", "run"]
