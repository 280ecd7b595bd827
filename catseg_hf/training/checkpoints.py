# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that are there as a whole or not at all, and a loss log that goes on where they do."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from catseg_hf.atomic_files import disk_problem, written_whole


STATE_FILE = "catseg_state.json"
UNFINISHED = ".unfinished-"
OLD = ".old-"


class Checkpoints:
    """The checkpoints of a training run: folders `checkpoint-000500`, ... with all that accelerate saves.

    A folder gets its name only when everything in it is written, so that a process that is killed at any moment leaves
    whole checkpoints behind and at most rubbish under another name, which the next run removes.

    Args:
        folder (`str` or `os.PathLike`): Where they are. All processes must see it.
        accelerator (`accelerate.Accelerator`): Saves what was prepared or registered.
        identity (`dict[str, Any]`): All that decides on the course of the training; ready for JSON.
        keep (`int`, *optional*, defaults to 2): How many of the newest ones stay.

    Raises:
        ValueError: If `keep` is less than 1.
    """

    def __init__(
        self, folder: str | os.PathLike[str], accelerator: Accelerator, identity: dict[str, Any], *, keep: int = 2
    ) -> None:
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1, got {keep}.")
        self.folder = Path(folder)
        self.accelerator = accelerator
        self.identity = json.loads(json.dumps(identity))
        self.keep = keep
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_rubbish(self.folder)
        accelerator.wait_for_everyone()

    def whole(self) -> list[Path]:
        """The checkpoints that are complete.

        Returns:
            `list[Path]`: From the oldest to the newest.
        """
        found = [path for path in self.folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
        return sorted((path for path in found if _is_whole(path)), key=lambda path: int(path.name.split("-")[1]))

    def save(self, step: int, facts: dict[str, Any]) -> Path:
        """Saves everything, in all processes together, and removes the oldest checkpoints.

        Args:
            step (`int`): Number of steps that are done.
            facts (`dict[str, Any]`): What the training script wants back from [`read`]; ready for JSON.

        Returns:
            `Path`: The checkpoint.

        Raises:
            OSError: If it cannot be written, such as on a full disk. Nothing of it is left then, and the checkpoints
                before it stay.
        """
        name = f"checkpoint-{step:06d}"
        unfinished, path = self.folder / (UNFINISHED + name), self.folder / name

        def write_states() -> None:
            self.accelerator.save_state(str(unfinished))

        def finish() -> None:
            if self.accelerator.is_main_process:
                sizes = {str(file.relative_to(unfinished)): file.stat().st_size for file in _files(unfinished)}
                state = {"step": step, "identity": self.identity, "facts": facts, "files": sizes}
                (unfinished / STATE_FILE).write_text(json.dumps(state, indent=2), encoding="utf-8")
                _write_through(unfinished)
                if path.exists():
                    _remove(path)
                unfinished.rename(path)
                _write_through(self.folder, files=False)

        for action in (write_states, finish):
            self._together(action, unfinished)
        if self.accelerator.is_main_process:
            for old in self.whole()[: -self.keep]:
                _remove(old)
        return path

    def _together(self, action: Callable[[], None], unfinished: Path) -> None:
        # A process that failed alone would leave the others waiting for ever.
        problem = None
        try:
            action()
        except Exception as error:  # of PyTorch and safetensors, which have types of their own
            problem = disk_problem(error) or f"{type(error).__name__}: {error}"
        problems = [each for each in gather_object([problem]) if each is not None]
        if not problems:
            return
        if self.accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        kept = self.whole()
        left = f"The newest whole checkpoint is {kept[-1]}" if kept else "There is no checkpoint yet"
        free = shutil.disk_usage(self.folder).free / 1e9
        raise OSError(
            f"The checkpoint {self.folder / unfinished.name.removeprefix(UNFINISHED)} could not be written ("
            f"{problems[0]}); its disk has {free:.1f} GB free. {left}: make room and resume from the latest one."
        )

    def find(self, which: str) -> Path | None:
        """The checkpoint to go on from.

        Args:
            which (`str`): `"latest"`, or the path of a checkpoint.

        Returns:
            `Path`, *optional*: `None` if the latest is wanted and there is none.

        Raises:
            ValueError: If the path is no whole checkpoint.
        """
        if which == "latest":
            return next(reversed(self.whole()), None)
        path = Path(which)
        if not _is_whole(path):
            found = ", ".join(map(str, self.whole())) or "none"
            raise ValueError(f"{which} is no whole checkpoint. There are in {self.folder}: {found}.")
        return path

    def read(self, path: Path) -> tuple[int, dict[str, Any]]:
        """What a checkpoint says of itself; `accelerator.load_state(path)` brings the rest back.

        Args:
            path (`Path`): The checkpoint.

        Returns:
            `tuple[int, dict[str, Any]]`: The number of steps that were done, and the facts that were saved.

        Raises:
            ValueError: If it is of a training that differs from this one; says in what.
        """
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        names = {**self.identity, **state["identity"]}
        differences = [
            f"{name} ({state['identity'].get(name)!r} there, {self.identity.get(name)!r} now)"
            for name in names
            if state["identity"].get(name) != self.identity.get(name)
        ]
        if differences:
            raise ValueError(
                f"{path} is of another training, which differs in {', '.join(differences)}: use the same options to go "
                "on, or another folder to begin anew."
            )
        return state["step"], state["facts"]


class LossLog:
    """A text file with one JSON object a line, for each step.

    Args:
        path (`str` or `os.PathLike`): The file.

    Example:

    ```python
    >>> from catseg_hf.training import LossLog

    >>> log = LossLog("loss.jsonl")
    >>> log.append([{"step": 1, "loss": 0.7}])
    >>> log.read()
    [{'step': 1, 'loss': 0.7}]
    ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Adds lines.

        Args:
            records (`Sequence[dict[str, Any]]`): Ready for JSON, each with its `step`.

        Raises:
            OSError: If they cannot be written; the message names the file.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise OSError(f"The loss log {self.path} could not be written: {error}. Make room and resume.") from error

    def read(self) -> list[dict[str, Any]]:
        """All lines; one that was cut off in the middle is left out.

        Returns:
            `list[dict[str, Any]]`.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]  # behind the last line break is nothing, or a part of a line

    def cut(self, step: int) -> None:
        """Forgets what came after a step, which training goes on from.

        Args:
            step (`int`): The last step to keep.
        """
        kept = [record for record in self.read() if record["step"] <= step]
        with written_whole(self.path) as unfinished:
            unfinished.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


@contextmanager
def replaced_whole(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` when all is written.

    Between the two renamings at the end there is no `folder` but one of the name `.old-...`; [`remove_rubbish`], which
    [`Checkpoints`] calls, gives it its name back.

    Args:
        folder (`Path`): The folder; one that exists is replaced.

    Returns:
        A context with the `Path` to write to.

    Raises:
        OSError: If writing fails; what `folder` held before is still there.
    """
    unfinished, old = (folder.with_name(prefix + folder.name) for prefix in (UNFINISHED, OLD))
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        _write_through(unfinished)
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
    except Exception as error:  # safetensors has a type of its own
        raise OSError(
            f"{folder} could not be written: {disk_problem(error) or error}. Make room and resume."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def remove_rubbish(folder: Path) -> None:
    """Removes what a run that was killed left unfinished, and restores what it was replacing.

    Args:
        folder (`Path`): Where checkpoints and models are written.
    """
    for old in folder.glob(f"{OLD}*"):
        original = folder / old.name.removeprefix(OLD)
        if not original.exists() and not original.name.startswith("checkpoint-"):
            old.rename(original)
    for pattern in (f"{UNFINISHED}*", f"{OLD}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_whole(path: Path) -> bool:
    try:
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        return all((path / name).stat().st_size == size for name, size in state["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def _remove(path: Path) -> None:
    # Under another name first: a checkpoint that is half removed must not be found.
    old = path.with_name(OLD + path.name)
    path.rename(old)
    shutil.rmtree(old)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _write_through(folder: Path, files: bool = True) -> None:
    """Waits until a folder is on the disk, so that a power cut leaves no empty files under a good name."""
    if os.name == "nt":  # where folders cannot be opened
        return
    for path in [*(_files(folder) if files else []), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


__all__ = ["Checkpoints", "LossLog", "remove_rubbish", "replaced_whole"]
