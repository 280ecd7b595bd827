# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Counts of each test, its row in the table of the documents, and what several attacks need."""

import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.robustness.outcomes import PAGE, Attempts


@pytest.fixture
def attempts(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Iterator[Attempts]:
    """Counts what a test tries; its docstring says what that is, and the name of its file which kind of attack.

    At the end nothing may have gone wrong, and the row must stand in the documents as it is printed.
    """
    attack = Path(request.node.path).stem.removeprefix("test_").replace("_", " ")
    counted = Attempts(attack, inspect.getdoc(request.function).rstrip("."))
    yield counted
    record_property("robustness", counted.row())
    assert not counted.wrong, "\n".join([f"{len(counted.wrong)} went wrong:", *counted.wrong])
    assert counted.row() in PAGE.read_text(encoding="utf-8").splitlines(), f"{PAGE.name} lacks {counted.row()}"


@pytest.fixture
def dice() -> random.Random:
    """The same random numbers in every run."""
    return random.Random(0)
