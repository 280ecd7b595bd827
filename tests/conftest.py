# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What several test files share."""

import os
import signal


# Before anything imports huggingface_hub: no test may ask the network for anything by accident.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch calculates anything: otherwise how MKL rounds depends, on some processors, on where weights lie in
# memory, and a model that was read from a file would not give the very same logits.
os.environ.setdefault("MKL_CBWR", "AUTO")
# A shell ignores Ctrl-C for what it starts in the background, and so would all children of these tests; some tests
# interrupt one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

from catseg_hf import CatSegConfig
from catseg_hf.cli import main
from tests.robustness.outcomes import table
from tests.tiny_models import random_checkpoint


# The same inputs in every run, and nothing kept from one to the next.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None, print_blob=False)
hypothesis.settings.load_profile("same")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what was tried in `tests/robustness`; here, since with several workers only this file is read."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    finished = [report for report in reports if getattr(report, "when", None) == "teardown"]
    rows = [value for report in finished for name, value in report.user_properties if name == "robustness"]
    if rows:
        terminalreporter.write_sep("=", "robustness: what was tried, and what came of it")
        terminalreporter.write("\n".join(table(rows)) + "\n")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the names of the official CVPR 2024 code and random weights, of a small CLIP."""
    text = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "num_hidden_layers": 2}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "num_hidden_layers": 9}
    clip = {"text_config": {**text, "projection_dim": 64}, "vision_config": {**vision, "patch_size": 16}}
    clip["vision_config"]["projection_dim"] = 64
    path = tmp_path_factory.mktemp("checkpoints") / "model_base.pth"
    config = CatSegConfig(clip_config={**clip, "projection_dim": 64})
    torch.save({"model": random_checkpoint(config)}, path)
    return path


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That checkpoint converted: a folder for `from_pretrained`, with the real tokenizer."""
    from catseg_hf.conversion import convert_checkpoint

    folder = tmp_path_factory.mktemp("models") / "tiny"
    convert_checkpoint(tiny_checkpoint, folder)
    return folder


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
