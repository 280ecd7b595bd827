# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs the pages that show catseg-tiny at work, and draws their pictures anew.

    python examples/draw_pictures.py [PAGE ...]

The commands and Python blocks of a page run from top to bottom, in a folder of their own. What `pictures/first_photo/
overlay.jpg` shows is then the file `overlay` of that folder, whatever its ending.
"""

import logging
import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from catseg_hf.cli import main as catseg_main


EXAMPLES = Path(__file__).resolve().parent
TUTORIALS = ("first_photo", "one_word", "evaluate", "train_your_labels", "label_studio_round_trip", "share", "serve")
PAGES = (
    *(EXAMPLES / "tutorials" / f"{name}.md" for name in TUTORIALS),
    EXAMPLES / "how_it_works.md",
    EXAMPLES / "gallery.md",
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"[A-Z_]+=")  # of the environment, before a command
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]*pictures/([^)]+)/([^)/]+))\)")


class Step(NamedTuple):
    """A block of a page that was run, and what the page says that it prints."""

    code: str
    printed: str
    shown: str | None


class Block(NamedTuple):
    """A block of a page: its language, its text, and whether it stands among what can go wrong."""

    language: str
    text: str
    may_fail: bool


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    wrong = text.find("\n## What can go wrong\n")
    return [Block(found[1], found[2], 0 <= wrong < found.start()) for found in BLOCK.finditer(text)]


def run_catseg(words: list[str]) -> None:
    """Runs the command `catseg` in this process, which has logged nothing before, as a new one."""
    logging.Logger.warning_once.cache_clear()
    with arguments("catseg", *words):
        catseg_main()


def run_script(words: list[str]) -> None:
    """Runs a script in this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    with arguments(*words):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except ValueError as error:
            raise SystemExit(f"ValueError: {error}") from error


def leave_out(words: list[str]) -> None:
    """For commands that install something, or do not end."""


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "catseg": run_catseg,
    "python": run_script,
    "pip": leave_out,
    "label-studio": leave_out,
}


@contextmanager
def arguments(*words: str) -> Iterator[None]:
    """With other words in `sys.argv`."""
    before = sys.argv
    sys.argv = list(words)
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def printing() -> Iterator[StringIO]:
    """Where everything goes that is printed or logged, as a terminal shows it."""
    printed = StringIO()
    log, handler = logging.getLogger("catseg_hf"), logging.StreamHandler(printed)
    log.addHandler(handler)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield printed
    finally:
        log.removeHandler(handler)


@contextmanager
def current_folder(folder: Path) -> Iterator[None]:
    """With another current folder, in which a clone of the repository seems to lie."""
    before = Path.cwd()
    for name in ("examples", "catseg_hf"):
        (folder / name).symlink_to(EXAMPLES.parent / name, target_is_directory=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_page(page: Path, folder: Path, programs: Mapping[str, Callable[[list[str]], None]] | None = None) -> list[Step]:
    """Runs the blocks of a page in order; those of Python are one session.

    Args:
        page (`Path`): The page.
        folder (`Path`): An empty folder.
        programs (`Mapping[str, Callable[[list[str]], None]]`, *optional*): Instead of, or beside, [`PROGRAMS`].

    Returns:
        `list[Step]`: What was run.

    Raises:
        RuntimeError: If a command fails, and the page does not show its error.
    """
    programs = {**PROGRAMS, **(programs or {})}
    session: dict[str, Any] = {"__name__": "__main__"}
    steps, found = [], blocks(page)
    with current_folder(folder):
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.language not in ("bash", "python"):
                continue
            shown = following.text if following is not None and following.language in ("text", "json") else None
            with printing() as printed:
                failed = _run(block, programs, session)
            if failed and (shown is None or not block.may_fail):
                raise RuntimeError(f"{page.name}:\n{block.text}\n{printed.getvalue()}")
            steps.append(Step(block.text, printed.getvalue(), shown))
    return steps


def _run(block: Block, programs: Mapping[str, Callable[[list[str]], None]], session: dict[str, Any]) -> bool:
    """Runs a block; whether a command of it failed."""
    if block.language == "python":
        exec(block.text, session)
        return False
    failed = False
    for line in block.text.splitlines():
        program, *words = [word for word in shlex.split(line) if not SETTING.match(word)]
        try:
            programs[program](words)
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code)
            failed |= end.code not in (None, 0)
    return failed


def pictures(page: Path) -> dict[Path, str]:
    """The pictures of a page that are drawn here, each with the name of what it shows, without its ending."""
    shown = {}
    for target, place, name in PICTURE.findall(page.read_text(encoding="utf-8")):
        inner = Path(*Path(place).parts[1:])  # the first part is the page's name
        if Path(place).parts[0] == page.stem:
            shown[(page.parent / target).resolve()] = str(inner / Path(name).stem)
    return shown


def drawn(folder: Path, name: str) -> Image.Image:
    """The picture that a page left in a folder.

    Args:
        folder (`Path`): Where it ran.
        name (`str`): Of the file, without its ending.

    Returns:
        `PIL.Image.Image`: RGB.
    """
    (file,) = [path for path in (folder / f"{name}{ending}" for ending in (".png", ".jpg")) if path.is_file()]
    return Image.open(file).convert("RGB")


def main() -> None:
    """Draws the pictures of the pages that are named, by default of all."""
    chosen = sys.argv[1:]
    for page in PAGES:
        targets = pictures(page)
        if not targets or (chosen and page.stem not in chosen):
            continue
        with TemporaryDirectory() as folder:
            run_page(page, Path(folder))
            for target, name in targets.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                drawn(Path(folder), name).save(target, optimize=True, quality=85)
                print(target.relative_to(EXAMPLES), f"{target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
