# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Reading and writing beside the computing: in order, a few at a time, and with the errors of the plain loop."""

import threading
import time
from collections.abc import Iterator

import pytest

from catseg_hf.segmenting.background import in_order


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_results_are_in_order_and_few_wait(num_threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    def square(number: int) -> int:
        time.sleep(0.003 * (number % 3))  # later ones are ready sooner
        return number**2

    results = []
    for result in in_order(square, items(), num_threads):
        results.append(result)
        assert len(taken) <= len(results) + num_threads
    assert results == [number**2 for number in range(20)]


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_error_comes_where_its_result_would(num_threads: int) -> None:
    results = in_order(lambda number: 6 // (3 - number), range(9), num_threads)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_it_works_beside_the_caller() -> None:
    gate = threading.Event()
    results = in_order(lambda number: number if number < 3 else gate.wait(30), range(9), 3)
    assert next(results) == 0  # the fourth item waits for the gate already
    gate.set()
    assert list(results)[1:3] == [2, True]


def test_what_runs_is_finished_if_asked_for() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.05 * number)
        done.append(number)

    results = in_order(work, range(9), 2, finish=True)
    next(results)
    results.close()
    assert done == [0, 1, 2]
