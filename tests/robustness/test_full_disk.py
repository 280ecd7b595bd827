# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that cannot grow beyond a limit, as on a full disk: the path is named, and nothing is half under its name."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.robustness.commands import FINETUNE, run
from tests.robustness.outcomes import Attempts
from tests.robustness.test_kills import finished_files


pytestmark = pytest.mark.slow
OUTPUT, UNDISTURBED = Path("output"), Path("undisturbed")


def fill_the_disk(
    attempts: Attempts,
    dice: random.Random,
    number: int,
    command: Callable[[Path], Sequence[object]],
    is_whole: Callable[[str, bytes, bytes], bool] = lambda name, content, expected: content == expected,
) -> None:
    """Runs a command with room for only a part of its largest file, and then with enough room.

    Args:
        attempts (`Attempts`): Counts the runs.
        dice (`random.Random`): Chooses the limits.
        number (`int`): How many runs.
        command (`Callable`): The command for an output; started again, it goes on.
        is_whole (`Callable`): Whether a file, given its name and content, is the one of a run with enough room.
    """
    for path in (OUTPUT, UNDISTURBED):
        shutil.rmtree(path, ignore_errors=True)
    assert run(command(UNDISTURBED)).code == 0
    whole = finished_files(UNDISTURBED)
    largest = max(map(len, whole.values()))
    for index in range(number):
        room = int(largest * dice.uniform(0.02, 0.98) ** (1 + index % 3))
        ended = run(command(OUTPUT), file_bytes=room)
        left = finished_files(OUTPUT) if OUTPUT.exists() else {}
        half = [name for name, content in left.items() if name in whole and not is_whole(name, content, whole[name])]
        case = f"room for {room} bytes"
        message = ended.printed.splitlines()[-1] if ended.printed else ""
        says_why = "File too large" in message or "could not be written to its end" in message
        if ended.code == 0 or half or not says_why or command(OUTPUT)[0] == "catseg" and "Traceback" in ended.printed:
            attempts.judge(case, False, f"code {ended.code}, half files {half}: {ended.printed}")
        else:
            attempts.refusal(case, message, [OUTPUT])
    ended = run(command(OUTPUT))
    finished = finished_files(OUTPUT)
    is_same = finished.keys() == whole.keys() and all(is_whole(name, finished[name], whole[name]) for name in whole)
    attempts.judge("with enough room", ended.code == 0 and is_same, ended.printed)


def test_segment(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """`catseg segment` in four formats with too little room, then with enough"""

    def command(output: Path) -> list[object]:
        formats = [word for kind in ("json", "rle", "label-map", "overlay") for word in ("--format", kind)]
        words = ("--labels", "cat, dog, sky", "--model", "model", "--skip-existing")
        return ["catseg", "segment", "images", *words, *formats, "--output", output]

    fill_the_disk(attempts, dice, 3, command)


def test_evaluate(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """`catseg evaluate` with too little room, then with enough"""

    def command(output: Path) -> list[object]:
        data = (
            "--images",
            "images",
            "--annotations",
            "labels",
            "--vocabulary",
            "classes.txt",
            "--protocol",
            "whole",
            "--worst",
            "0",
        )
        return ["catseg", "evaluate", "--model", "model", *data, "--output", output]

    def is_whole(name: str, content: bytes, expected: bytes) -> bool:
        return content == expected or name in ("results.json", "report.md", "report.html")  # they tell the time

    fill_the_disk(attempts, dice, 3, command, is_whole)


def test_convert(attempts: Attempts, dice: random.Random, place: Path, tiny_checkpoint: Path) -> None:
    """`catseg convert` with too little room, then with enough"""

    def command(output: Path) -> list[object]:
        return ["catseg", "convert", tiny_checkpoint, output, "--image-size", "96", "--vocabulary", "pascal_voc_20"]

    fill_the_disk(attempts, dice, 3, command)


def test_convert_to_original(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """`catseg convert` back to the original's names with too little room, then with enough"""

    def command(output: Path) -> list[object]:
        return ["catseg", "convert", "--to-original", "model", output / "model.pth"]

    fill_the_disk(attempts, dice, 3, command)


def test_finetune(attempts: Attempts, dice: random.Random, place: Path) -> None:
    """`examples/finetune.py` with too little room, then resumed with enough"""

    def command(output: Path) -> list[object]:
        data = ("--images", "images", "--labels", "labels", "--vocabulary", "classes.txt", "--num-workers", "0")
        options = ("--steps", "2", "--batch-size", "2", "--crop-size", "64", "--save-every", "1")
        resumed = ("--resume-from-checkpoint", "latest")
        return [FINETUNE, "--model", "model", *data, *options, *resumed, "--output", output]

    def is_whole(name: str, content: bytes, expected: bytes) -> bool:
        return len(content) == len(expected) or name == "loss.jsonl"  # which grows with each step

    fill_the_disk(attempts, dice, 3, command, is_whole)
