# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Reading and writing beside the computing."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar


Item, Result = TypeVar("Item"), TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int, *, finish: bool = False
) -> Iterator[Result]:
    """Applies a function to items in threads, and gives the results in the order of the items.

    Threads are enough for pictures: Pillow lets others run while it decodes, resizes or encodes. They end with the
    program, also where one waits for a server. Items are taken as they are needed, so that at most `num_threads`
    results wait; with 0 everything happens when it is asked for. With `finish`, items that were taken are finished
    where nobody asks for more, as after an error.
    """
    if num_threads == 0:
        yield from map(function, items)
        return
    pool = ThreadPool(num_threads)
    running: deque[AsyncResult] = deque()
    try:
        for item in items:
            running.append(pool.apply_async(function, (item,)))
            if len(running) > num_threads:
                yield running.popleft().get()
        while running:
            yield running.popleft().get()
    finally:
        if finish:
            for result in running:
                result.wait()
        pool.close()
