# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which photos a command names, and what their results are called."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


STDIN = "-"
# Files in folders with other endings are left alone.
PHOTO_ENDINGS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class _Found(NamedTuple):
    """A photo: its name in messages, the folder that was searched, if it is a file, and its path in that.

    Of what is no file, the path is the name of the results.
    """

    name: str
    folder: Path | None
    path: Path


def named_photos(
    inputs: Sequence[str], output: Path, problems: dict[str, str], *, keep_endings: bool = True
) -> list[tuple[str, Path]]:
    """Finds all photos, each once, and names their results.

    A result is called after its photo, without the ending, in the same subfolders. Where photos of several folders
    would share a name, the photos of each folder go into one of its name: `a/x.jpg` and `b/x.jpg` are `a/x` and `b/x`,
    and photos of `p/a` and `q/a` are in `p/a` and `q/a`. Photos that differ only in their ending keep it.

    Args:
        inputs (`Sequence[str]`): Files, folders (with all that is in them), `http(s)` URLs, or `"-"`.
        output (`Path`): The folder of results, which is not searched.
        problems (`dict[str, str]`): Gets the reason, by name, for each input without a photo.
        keep_endings (`bool`, *optional*, defaults to `True`):
            Whether photos that differ only in their ending keep it, for formats that allow it.

    Returns:
        `list[tuple[str, Path]]`: Each photo, and the path of its results, relative to `output` and without an ending.
    """
    found = _each_once(_found(inputs, output, problems))
    files = [photo for photo in found if photo.folder is not None]
    folders_of = defaultdict(set)
    for photo in files:
        folders_of[str(photo.path if keep_endings else _stem(photo)).casefold()].add(photo.folder)
    if any(len(folders) > 1 for folders in folders_of.values()):
        folders = _folder_names(list(dict.fromkeys(photo.folder for photo in files)))
        found = [
            photo if photo.folder is None else photo._replace(path=folders[photo.folder] / photo.path)
            for photo in found
        ]
    stems = Counter(str(_stem(photo)).casefold() for photo in found)
    return [
        (
            photo.name,
            photo.path if keep_endings and stems[str(_stem(photo)).casefold()] > 1 else _stem(photo),
        )
        for photo in found
    ]


def _stem(photo: _Found) -> Path:
    return photo.path if photo.folder is None else photo.path.with_suffix("")


def _each_once(found: Iterator[_Found]) -> list[_Found]:
    unique: dict[object, _Found] = {}
    for photo in found:
        unique.setdefault(photo.name if photo.folder is None else photo.folder / photo.path, photo)
    return list(unique.values())


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


def _found(inputs: Sequence[str], output: Path, problems: dict[str, str]) -> Iterator[_Found]:
    for name in inputs:
        if name == STDIN:
            yield _Found(name, None, Path("stdin"))
        elif is_url(name):
            address = urlsplit(name)
            stem = PurePosixPath(unquote(address.path)).stem or address.netloc
            yield _Found(name, None, Path(re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", stem)[:150]))
        elif os.path.isfile(name):
            path = Path(os.path.abspath(name))
            yield _Found(name, path.parent, Path(path.name))
        elif os.path.isdir(name):
            paths = list(files_in(Path(name), output, PHOTO_ENDINGS))
            for path in paths:
                yield _Found(str(path), Path(os.path.abspath(name)), path.relative_to(name))
            if not paths:
                problems[name] = f"there are no photos in this folder ({', '.join(PHOTO_ENDINGS)})."
        else:
            problems[name] = "there is no such file or folder."


def files_in(folder: Path, output: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder in alphabetical order, without hidden ones and without earlier results.

    Args:
        folder (`Path`): The folder.
        output (`Path`): The folder of results, which is not searched.
        endings (`tuple[str, ...]`): Of their names, in small letters.

    Returns:
        An iterator over their paths.
    """
    results = os.path.realpath(output)
    for place, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != results
        )
        for name in sorted(files):
            if name.lower().endswith(endings) and not name.startswith("."):
                yield Path(place, name)


def is_url(name: str) -> bool:
    """Whether a photo comes from the web.

    Args:
        name (`str`): Its name.

    Returns:
        `bool`
    """
    return name.lower().startswith(("http://", "https://"))


__all__ = ["PHOTO_ENDINGS", "STDIN", "files_in", "is_url", "named_photos"]
