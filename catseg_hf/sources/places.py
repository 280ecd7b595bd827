# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where the results of inputs go; no two ever share a file."""

import os
from collections.abc import Sequence
from pathlib import Path

from catseg_hf.file_kinds import ENDINGS
from catseg_hf.formats.format import Output, is_url
from catseg_hf.formats.result_files import STDIN

from .found import Found, named
from .source import Task


def check_folder(output: Path, inputs: Sequence[str]) -> None:
    """Refuses a folder of results that is a file, looks like one, or holds the inputs themselves."""
    if output.is_file() or output.suffix.lower() in (*ENDINGS, ".json"):
        raise ValueError(f"--output {output} must be a folder, as there are several photos: name one.")
    if os.path.realpath(output) in {os.path.realpath(name) for name in inputs if os.path.isdir(name)}:
        raise ValueError(f"--output {output} is the folder of the photos: name another one.")


def place_one(name: str, found: Sequence[Found], output: Path | None, outputs: Sequence[Output]) -> list[Task]:
    """The task of a single file, by its name in the command; none where nothing of the kind was found.

    `output` is the file or folder of the first result; the others lie beside it.
    """
    first = outputs[0]
    output = Path(first.default_output) if output is None else output
    first.check_output(output)
    places = {first: output, **{other: output.with_name(f"{output.stem}{other.ending}") for other in outputs[1:]}}
    stem = dict(named(found)).get(name, Path("photo"))
    targets = {each: each.single_target(path, stem) for each, path in places.items()}
    if len(set(targets.values())) < len(targets):
        kinds = ", ".join(each.name for each in outputs)
        raise ValueError(f"--output {output} does not fit its formats {kinds}: two would share a file.")
    if any(os.path.realpath(path) == os.path.realpath(name) for path in targets.values()):
        what = f"the {'video' if found and found[0].is_video else 'photo'} itself"
        raise ValueError(f"--output {output} would replace {what}: name another file.")
    return [Task(name, targets)] if found else []


def place_several(
    found: Sequence[Found], folder: Path, outputs: Sequence[Output], problems: dict[str, str]
) -> list[Task]:
    """The tasks of several inputs of one kind; `problems` gets those whose results would replace something.

    Each gets its own name, as [`named`] has it, with the ending of the format: results of `dup.jpg` and `dup.png` are
    `dup.jpg.png` and `dup.png.png`, those of `a/x.jpg` and `b/x.jpg` are `a/x.png` and `b/x.png`.
    """
    check_endings(outputs)
    tasks: list[Task] = []
    owners = {str(path).casefold(): "all photos" for each in outputs for path in each.folder_files(folder)}
    names = named(found, keep_endings=all(each.keeps_endings for each in outputs))
    # Some file systems take capital and small letters for the same.
    originals = {os.path.realpath(name).casefold() for name, _ in names if name != STDIN and not is_url(name)}
    for name, stem in names:
        targets = targets_of(stem, folder, outputs)
        owner = next((owners[key] for path in targets.values() if (key := str(path).casefold()) in owners), None)
        if owner is not None:
            problems[name] = f"its results would replace those of {owner}: segment it alone, or rename it."
        elif any(os.path.realpath(path).casefold() in originals for path in targets.values()):
            problems[name] = "its results would replace a photo: name another --output."
        else:
            owners.update((str(path).casefold(), name) for path in targets.values())
            tasks.append(Task(name, targets))
    return tasks


def check_endings(outputs: Sequence[Output]) -> None:
    """Refuses, with a `ValueError`, kinds of results that would share files."""
    owners: dict[Path, Output] = {}
    for each in outputs:
        other = owners.setdefault(each.target(Path(), Path("a")), each)
        if other is not each:
            raise ValueError(
                f"Files of --format {other.name} and {each.name} would have the same names: write one of them in a "
                "command of its own, to another --output."
            )


def targets_of(stem: Path, folder: Path, outputs: Sequence[Output]) -> dict[Output, Path]:
    """Where the results of one of several inputs go, of which `stem` is the path without its ending."""
    return {each: each.target(folder, stem) for each in outputs}
