# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which files a command names, what each of them is, and what their results are called."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from catseg_hf.file_kinds import FileKind, kind_of
from catseg_hf.formats.format import is_url
from catseg_hf.formats.result_files import STDIN


class Found(NamedTuple):
    """An input."""

    name: str  # in messages
    folder: Path | None  # that was searched; `None` of what is no file
    path: Path  # in that folder; of what is no file, the name of the results
    is_video: bool = False


def find_inputs(inputs: Sequence[str], output: Path, problems: dict[str, str]) -> list[Found]:
    """Finds all photos and videos, each once: files, all in folders but the `output`, `http(s)` URLs, and `"-"`.

    `problems` gets the reason, by name, for each input that is neither, and for pictures that cannot be read.
    """
    unique: dict[object, Found] = {}
    for found in _found(inputs, output, problems):
        unique.setdefault(found.name if found.folder is None else found.folder / found.path, found)
    return list(unique.values())


def _found(inputs: Sequence[str], output: Path, problems: dict[str, str]) -> Iterator[Found]:
    for name in inputs:
        if name == STDIN:
            yield Found(name, None, Path("stdin"))
        elif is_url(name):
            address = urlsplit(name)
            stem = PurePosixPath(unquote(address.path)).stem or address.netloc
            yield Found(name, None, Path(re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", stem)[:150]))
        elif os.path.isfile(name):
            path, kind = Path(os.path.abspath(name)), kind_of(name)
            if reason := reason_against(kind):
                problems[name] = reason
            else:
                yield Found(name, path.parent, Path(path.name), kind is not None and kind.kind == "video")
        elif os.path.isdir(name):
            yield from _in_folder(name, output, problems)
        else:
            problems[name] = "there is no such file or folder."


def _in_folder(name: str, output: Path, problems: dict[str, str]) -> Iterator[Found]:
    is_empty = True
    for path in files_in(Path(name), output):
        kind = kind_of(path)
        if reason := reason_against(kind):
            problems[str(path)] = reason
        elif kind is not None:
            yield Found(str(path), Path(os.path.abspath(name)), path.relative_to(name), kind.kind == "video")
        is_empty = is_empty and kind is None
    if is_empty:
        problems[name] = "there are no photos or videos in this folder."


def reason_against(kind: FileKind | None) -> str | None:
    """Why a picture of that kind cannot be read; `None` for photos, for videos, and for what is not known."""
    if kind is None or kind.kind in ("photo", "video"):
        return None
    what = kind.kind.removeprefix("unsupported ")
    return f"is a {what} ({kind.name}), which cannot be read: {kind.advice}."


def named(found: Sequence[Found], *, keep_endings: bool = True) -> list[tuple[str, Path]]:
    """Each input by its name, and the path of its results in their folder, without an ending.

    A result is called after its photo, without the ending, in the same subfolders. Where photos of several folders
    would share a name, the photos of each folder go into one of its name: `a/x.jpg` and `b/x.jpg` are `a/x` and `b/x`,
    and photos of `p/a` and `q/a` are in `p/a` and `q/a`. Photos that differ only in their ending keep it, where the
    formats allow it.
    """
    files = [each for each in found if each.folder is not None]
    folders_of = defaultdict(set)
    for each in files:
        folders_of[str(each.path if keep_endings else _stem(each)).casefold()].add(each.folder)
    if any(len(folders) > 1 for folders in folders_of.values()):
        folders = _folder_names(list(dict.fromkeys(each.folder for each in files)))
        found = [
            each if each.folder is None else each._replace(path=folders[each.folder] / each.path) for each in found
        ]
    stems = Counter(str(_stem(each)).casefold() for each in found)
    return [
        (each.name, each.path if keep_endings and stems[str(_stem(each)).casefold()] > 1 else _stem(each))
        for each in found
    ]


def _stem(found: Found) -> Path:
    return found.path if found.folder is None else found.path.with_suffix("")


def _folder_names(folders: list[Path]) -> dict[Path, Path]:
    """For each folder as many last parts of its path as tell all of them apart."""
    parts = [folder.relative_to(folder.anchor).parts for folder in folders]
    # Some file systems take capital and small letters for the same; where that is the only difference, photos that
    # would share a file are refused later.
    for spell in (str.casefold, str):
        for number in range(1, max(map(len, parts)) + 1):
            names = [Path(*part[-number:]) for part in parts]
            if len({spell(str(name)) for name in names}) == len(names):
                return dict(zip(folders, names, strict=True))
    return dict.fromkeys(folders, Path())  # of the root of a file system alone


def files_in(folder: Path, output: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Files below a folder whose names are wanted, in alphabetical order, without hidden ones and the `output`."""
    results = os.path.realpath(output)
    for place, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != results
        )
        for name in sorted(files):
            if not name.startswith(".") and wanted(name):
                yield Path(place, name)
