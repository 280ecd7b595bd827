# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The `catseg` command, for the tests of all that it does."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catseg_hf.cli import main


@pytest.fixture
def catseg(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process, in a folder of its own; its exit code, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["catseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run
