# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Calculating in forked children, such as those of `datasets.map(num_proc=2)`, where torch has lost its threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


# Children that are spawned import this anew, forked ones do not.
IMPORTED_IN = os.getpid()


@contextmanager
def one_thread_if_forked() -> Iterator[None]:
    """Within the block, or the function that is decorated, torch uses one thread where the process is a forked child.

    A forked child has the parent's memory but not its threads: if torch had started some there, it would wait for them
    for ever. A data loader of torch sets one thread in its workers, too.
    """
    num_threads = torch.get_num_threads()
    if os.getpid() == IMPORTED_IN or num_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


__all__ = ["one_thread_if_forked"]
