# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Counts of each test, its row in the table of the documents, and what several attacks need."""

import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.robustness.commands import run
from tests.robustness.outcomes import PAGE, Attempts, is_documented
from tests.small_evaluations import save_small_data_set
from tests.tiny_pipelines import save_tiny_pipeline


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
    assert is_documented(counted.row()), f"{PAGE.name} lacks {counted.row()}"


@pytest.fixture
def dice() -> random.Random:
    """The same random numbers in every run."""
    return random.Random(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `model`, five photos in `images`, their `labels` and `classes.txt`, where commands run."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny_pipeline(folder / "model")
    save_small_data_set(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setenv("OMP_NUM_THREADS", "1")
        assert run(["catseg", "--version"]).code == 0  # starts the server that commands are forked from
        yield folder
