# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The processes of an evaluation: one, or those that accelerate connects; and how much memory one takes."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from accelerate import PartialState


def load_accelerate() -> ModuleType:
    """The library accelerate, which comes with the extra `eval`: only what really evaluates asks for it.

    Returns:
        `ModuleType`: The library.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import accelerate
    except ImportError as error:
        raise ImportError('`catseg evaluate` needs more libraries: `pip install "catseg-hf[eval]"`.') from error
    return accelerate


def start_processes(device: torch.device) -> "PartialState":
    """Joins the processes that `torchrun` or `accelerate launch` started, if they did.

    Args:
        device (`torch.device`): Where the model is.

    Returns:
        `PartialState`: The processes.

    Raises:
        ImportError: If accelerate is not installed.
        ValueError: If there are several processes that cannot talk to each other; they would all do the same.
    """
    state = load_accelerate().PartialState(cpu=device.type == "cpu")
    num_started = int(os.environ.get("WORLD_SIZE", "1"))
    if num_started > 1 and state.num_processes == 1:
        raise ValueError(
            f"{num_started} processes were started, but accelerate was set up for one: for models on the CPU make "
            "`accelerate.PartialState(cpu=True)` before anything else of accelerate."
        )
    return state


def peak_memory(device: torch.device) -> int | None:
    """Largest number of bytes in use so far: of tensors on a GPU, or of the whole process with Python and all.

    Args:
        device (`torch.device`): Where the model is.

    Returns:
        `int`, *optional*: `None` where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):  # of this program only, and not of the one that started it
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


__all__ = ["load_accelerate", "peak_memory", "start_processes"]
