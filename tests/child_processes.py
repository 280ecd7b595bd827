# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Programs that run beside a test, which cannot outlive it."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


# Longer than anything here takes; what hangs shall end with an error.
WAIT_SECONDS = 120


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A running program, with its output in pipes; killed at the end of the `with` block if it still runs."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def interrupt(process: subprocess.Popen) -> tuple[str, str]:
    """Sends what Ctrl-C sends, waits for the end, and returns all output and errors."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=WAIT_SECONDS)
