# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""SIGKILL at 50 random moments: no half file under a final name, no lost step, and in the end the same results.

Half of the moments are changes of files, so that they are the same in every run; the other half are up to a tenth of a
second later, whatever the command does then.
"""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.robustness.commands import FINETUNE, run
from tests.robustness.outcomes import Attempts


pytestmark = pytest.mark.slow
OUTPUT, UNDISTURBED = Path("output"), Path("undisturbed")


def kill_and_resume(
    attempts: Attempts,
    dice: random.Random,
    number: int,
    command: Callable[[Path], Sequence[object]],
    problem_after_kill: Callable[[], str | None],
    is_same: Callable[[], bool],
) -> None:
    """Kills a command `number` times, each time going on with what the time before left; begins anew when it ends.

    Args:
        attempts (`Attempts`): Counts the kills.
        dice (`random.Random`): Chooses the moments.
        number (`int`): How many kills.
        command (`Callable`): The command for an output; started again, it goes on.
        problem_after_kill (`Callable`): What is wrong with what a killed command left, `None` if nothing is.
        is_same (`Callable`): Whether the finished output is that of the undisturbed command.
    """
    for path in (OUTPUT, UNDISTURBED):
        shutil.rmtree(path, ignore_errors=True)
    undisturbed = run(command(UNDISTURBED))
    assert undisturbed.code == 0, undisturbed.printed
    kills = 0
    while True:
        moment: dict[str, float] = {}
        if kills < number:
            # Among the first changes of files, as each time fewer are left.
            moment["kill_at"] = dice.randint(1, max(1, undisturbed.events // 3))
        if kills < number and kills % 2:
            moment["kill_after"] = dice.uniform(0, 0.1)
        ended = run(command(OUTPUT), **moment)
        if ended.code == -9:
            kills += 1
            problem = problem_after_kill()
            attempts.judge(moment, problem is None, f"{problem}")
            continue
        assert ended.code == 0, f"after {kills} kills: {ended.printed}"
        if not is_same():
            attempts.wrong.append(f"another result after {kills} kills")
        if not moment:
            break
        shutil.rmtree(OUTPUT)


def finished_files(folder: Path) -> dict[str, bytes]:
    """All files that are not marked as unfinished."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in found.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def test_segment(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """SIGKILL while `catseg segment` writes three formats, then `--skip-existing`"""

    def command(output: Path) -> list[object]:
        formats = ("--format", "overlay", "--format", "masks", "--format", "json", "--skip-existing")
        words = ("--labels", "cat, dog, sky", "--model", "model")
        return ["catseg", "segment", "images", *words, "--output", output, *formats]

    def problem() -> str | None:
        whole = finished_files(UNDISTURBED)
        other = [name for name, content in finished_files(OUTPUT).items() if whole.get(name) != content]
        return f"half files: {other}" if other else None

    def is_same() -> bool:
        return finished_files(OUTPUT) == finished_files(UNDISTURBED)

    kill_and_resume(attempts, dice, 13, command, problem, is_same)


def evaluation_results(folder: Path) -> tuple[dict, list[list[int]]]:
    results = json.loads((folder / "results.json").read_text())
    with np.load(folder / "counts.npz") as counts:
        return {name: results[name] for name in ("metrics", "per_class", "warnings")}, counts["matrix"].tolist()


def test_evaluate(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """SIGKILL during `catseg evaluate`, then the same command again"""

    def command(output: Path) -> list[object]:
        data = ("--images", "images", "--annotations", "labels", "--vocabulary", "classes.txt", "--worst", "1")
        return ["catseg", "evaluate", "--model", "model", *data, "--protocol", "whole", "--output", output]

    def problem() -> str | None:
        if (OUTPUT / "results.json").exists() and not is_same():
            return "results.json is there, and the results are not"
        return None

    def is_same() -> bool:
        return evaluation_results(OUTPUT) == evaluation_results(UNDISTURBED)

    kill_and_resume(attempts, dice, 12, command, problem, is_same)


def test_finetune(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """SIGKILL during `examples/finetune.py`, then `--resume-from-checkpoint latest`"""
    last_steps = [0]

    def command(output: Path) -> list[object]:
        last_steps[:] = last_steps if output.exists() else [0]
        data = ("--images", "images", "--labels", "labels", "--vocabulary", "classes.txt", "--num-workers", "0")
        options = ("--steps", "6", "--batch-size", "2", "--crop-size", "64", "--learning-rate", "0.01")
        often = ("--save-every", "2", "--log-every", "1", "--resume-from-checkpoint", "latest")
        return [FINETUNE, "--model", "model", *data, *options, *often, "--output", output]

    def losses(folder: Path) -> list[str]:
        path = folder / "loss.jsonl"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def problem() -> str | None:
        files = finished_files(OUTPUT) if OUTPUT.exists() else {}
        steps = [int(name.split("/")[0].split("-")[1]) for name in files if name.endswith("catseg_state.json")]
        for folder in OUTPUT.glob("checkpoint-*"):
            state = json.loads((folder / "catseg_state.json").read_text())
            if any((folder / name).stat().st_size != size for name, size in state["files"].items()):
                return f"{folder} is half"
        if max(steps, default=0) < last_steps[0]:
            return f"step {last_steps[0]} was lost"
        last_steps[0] = max(steps, default=0)
        if losses(OUTPUT) != losses(UNDISTURBED)[: len(losses(OUTPUT))] or len(losses(OUTPUT)) < last_steps[0]:
            return "other losses"
        return None

    def is_same() -> bool:
        models = [(folder / "model" / "model.safetensors").read_bytes() for folder in (OUTPUT, UNDISTURBED)]
        unfinished = [path for path in OUTPUT.iterdir() if path.name.startswith(".")]
        return models[0] == models[1] and losses(OUTPUT) == losses(UNDISTURBED) and not unfinished

    kill_and_resume(attempts, dice, 13, command, problem, is_same)


def test_convert(attempts: Attempts, dice: random.Random, place: Path, tiny_checkpoint: Path) -> None:
    """SIGKILL during `catseg convert`, then the same command again"""

    def command(output: Path) -> list[object]:
        return ["catseg", "convert", tiny_checkpoint, output, "--image-size", "96", "--vocabulary", "pascal_voc_20"]

    def is_same() -> bool:
        return finished_files(OUTPUT) == finished_files(UNDISTURBED)

    def problem() -> str | None:
        if OUTPUT.exists() and not is_same():
            return "half a folder"
        shutil.rmtree(OUTPUT, ignore_errors=True)  # it was finished: the command refuses to replace it
        return None

    kill_and_resume(attempts, dice, 12, command, problem, is_same)
