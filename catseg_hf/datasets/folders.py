# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The files of a folder of images, what is left out of it, and names for samples."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from catseg_hf.file_kinds import HEIC, kind_of, sentences_about_left_out


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
# Without JPEG, which changes class ids.
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")


class FolderFiles(NamedTuple):
    """The images of a folder.

    Args:
        files (`list[str]`): Their paths, relative to the folder, with `/`, in alphabetical order.
        remarks (`list[str]`): Which pictures and videos are left out, in sentences.
    """

    files: list[str]
    remarks: list[str]


def image_files(folder: Path) -> FolderFiles:
    """The images of a folder and of those in it.

    Args:
        folder (`Path`): The folder.

    Returns:
        [`FolderFiles`]: Hidden files of other kinds are not mentioned, nor what macOS writes beside files.
    """
    files, left_out = [], []
    reads_heic = find_spec("pillow_heif") is not None
    for name in _files_below(folder):
        # Some phones give a JPEG that ending.
        if name.lower().endswith(IMAGE_SUFFIXES) or (
            name.lower().endswith(HEIC_SUFFIXES) and (reads_heic or kind_of(folder / name) != HEIC)
        ):
            files.append(name)
        elif not name.rpartition("/")[2].startswith(".") and (kind := kind_of(folder / name)) is not None:
            left_out.append((name, kind))
    return FolderFiles(sorted(files), sentences_about_left_out(left_out))


def label_files(folder: Path) -> dict[str, str]:
    """The label files of a folder and of those in it.

    Args:
        folder (`Path`): The folder.

    Returns:
        `dict[str, str]`: Their paths, relative to the folder, with `/`, by those without the ending.

    Raises:
        ValueError: If two differ only in their ending; names them.
    """
    found: dict[str, str] = {}
    for name in _files_below(folder):
        if name.lower().endswith(LABEL_SUFFIXES):
            stem = stem_of(name)
            if stem in found:
                raise ValueError(f"{folder / found[stem]} and {folder / name} have the same name: remove one.")
            found[stem] = name
    return found


def stem_of(name: str) -> str:
    """A path without the ending of its last part.

    Args:
        name (`str`): The path, with `/`.

    Returns:
        `str`
    """
    return Path(name).with_suffix("").as_posix()


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.startswith("._"):  # beside each file, where macOS copied it to another file system
                yield Path(parent, name).relative_to(folder).as_posix()


def sample_names(files: Sequence[str]) -> list[str]:
    """A name of its own for the sample of each image.

    Args:
        files (`Sequence[str]`): Paths of the images, with `/`; the same can be there twice.

    Returns:
        `list[str]`: The paths without their endings, with `__` for `/`. Images that differ only in their ending keep
        it, and those that would still share a name are numbered.
    """
    stems = [stem_of(file).replace("/", "__") for file in files]
    files_of = defaultdict(set)
    for stem, file in zip(stems, files, strict=True):
        files_of[stem].add(file)
    names = [
        stem if len(files_of[stem]) == 1 else file.replace("/", "__") for stem, file in zip(stems, files, strict=True)
    ]
    counts, taken, numbers = Counter(names), set(names), Counter()
    for index, name in enumerate(names):
        if counts[name] > 1:
            while names[index] in taken:
                numbers[name] += 1
                names[index] = f"{name}-{numbers[name]}"
            taken.add(names[index])
    return names


__all__ = ["IMAGE_SUFFIXES", "LABEL_SUFFIXES", "FolderFiles", "image_files", "label_files", "sample_names", "stem_of"]
