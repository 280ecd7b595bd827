# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from catseg_hf.training import Checkpoints, LossLog, replaced_whole
from catseg_hf.training.checkpoints import STATE_FILE, remove_rubbish


IDENTITY = {"seed": 0, "recipe": {"steps": 10}}


@pytest.fixture
def accelerator() -> Accelerator:
    accelerator = Accelerator(cpu=True)
    accelerator.free_memory()
    model = torch.nn.Linear(1000, 100)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    return accelerator


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file can grow beyond `room` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_checkpoints_stay(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, accelerator, IDENTITY, keep=2)
    assert checkpoints.find("latest") is None
    for step in (2, 4, 1_000_000):
        checkpoints.save(step, {"best_miou": step / 10})
    assert names(tmp_path) == ["checkpoint-000004", "checkpoint-1000000"]
    latest = checkpoints.find("latest")
    assert latest == tmp_path / "checkpoint-1000000"
    assert checkpoints.read(latest) == (1_000_000, {"best_miou": 100_000.0})
    accelerator.load_state(latest)
    assert checkpoints.find(str(tmp_path / "checkpoint-000004")) == tmp_path / "checkpoint-000004"
    checkpoints.save(4, {})  # once more, after going back
    assert checkpoints.read(tmp_path / "checkpoint-000004") == (4, {})
    with pytest.raises(ValueError, match="`keep`.*0"):
        Checkpoints(tmp_path, accelerator, IDENTITY, keep=0)


def test_only_whole_checkpoints_are_found(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, accelerator, IDENTITY, keep=5)
    for step in (1, 2, 3, 4):
        checkpoints.save(step, {})
    (tmp_path / "checkpoint-000004" / "optimizer.bin").unlink()
    weights = tmp_path / "checkpoint-000003" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / "checkpoint-000002" / STATE_FILE).write_text("{")
    assert checkpoints.find("latest") == tmp_path / "checkpoint-000001"
    with pytest.raises(ValueError, match="checkpoint-000004 is no whole checkpoint.*checkpoint-000001"):
        checkpoints.find(str(tmp_path / "checkpoint-000004"))


def test_what_a_killed_run_left_is_removed_or_restored(tmp_path: Path, accelerator: Accelerator) -> None:
    for name in (".unfinished-checkpoint-000002", ".unfinished-best", ".old-best", ".old-checkpoint-000001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / ".unfinished-7-loss.jsonl").touch()
    Checkpoints(tmp_path, accelerator, IDENTITY)
    assert names(tmp_path) == ["best"]


def test_another_training_is_refused_by_name(tmp_path: Path, accelerator: Accelerator) -> None:
    path = Checkpoints(tmp_path, accelerator, IDENTITY).save(1, {})
    other = Checkpoints(tmp_path, accelerator, {**IDENTITY, "recipe": {"steps": 20}})
    with pytest.raises(ValueError, match=re.escape("recipe ({'steps': 10} there, {'steps': 20} now)")):
        other.read(path)


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(tmp_path: Path, accelerator: Accelerator) -> None:
    checkpoints = Checkpoints(tmp_path, accelerator, IDENTITY)
    first = checkpoints.save(1, {})
    for room in (100_000, 500_000):  # of weights of 400 kB and an optimizer of none yet; then of the state file
        with full_disk(room), pytest.raises(OSError, match="checkpoint-000002 could not be written.*checkpoint-000001"):
            if room == 500_000:
                checkpoints.save(2, {"much": "x" * 1_000_000})
            else:
                checkpoints.save(2, {})
        assert names(tmp_path) == ["checkpoint-000001"] and checkpoints.find("latest") == first
    checkpoints.save(2, {})
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    best = tmp_path / "best"
    for content in ("first", "second"):
        with replaced_whole(best) as folder:
            (folder / "weights").write_text(content)
            assert not best.exists() or (best / "weights").read_text() == "first"
        assert (best / "weights").read_text() == content
    with full_disk(100), pytest.raises(OSError, match="best could not be written"), replaced_whole(best) as folder:
        (folder / "weights").write_text("third" * 1000)
    assert (best / "weights").read_text() == "second" and names(tmp_path) == ["best"]
    # Killed between the two renamings:
    best.rename(tmp_path / ".old-best")
    remove_rubbish(tmp_path)
    assert (best / "weights").read_text() == "second"


def test_loss_log(tmp_path: Path) -> None:
    log = LossLog(tmp_path / "loss.jsonl")
    log.cut(0)
    log.append([{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 0.5}])
    log.append([{"step": 3, "loss": 0.25}])
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    assert [record["step"] for record in log.read()] == [1, 2, 3]
    log.cut(2)
    log.append([{"step": 3, "loss": 0.125}])
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.125}]
    with full_disk(120), pytest.raises(OSError, match=r"loss\.jsonl could not be written"):
        log.append([{"step": step, "loss": 1.0} for step in range(100)])
