# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What all annotation files have in common: images with named shapes, and the images found in a folder."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from catseg_hf.datasets.shapes import Shape
from catseg_hf.prompts_catseg import Label


class AnnotatedImage(NamedTuple):
    """An image of an annotation file.

    Args:
        file_name (`str`): What the file calls it: a path, or a URL's.
        size (`tuple[int, int]`, *optional*): Height and width, where the file says it.
        shapes (`list[tuple[str, Shape]]`): Class and shape of each annotation; later ones cover earlier ones.
    """

    file_name: str
    size: tuple[int, int] | None
    shapes: list[tuple[str, Shape]]


class AnnotationFile(NamedTuple):
    """What an annotation file holds.

    Args:
        class_names (`list[str]`): Its classes, in the order of their ids, or of the alphabet.
        images (`list[AnnotatedImage]`): Its images.
    """

    class_names: list[str]
    images: list[AnnotatedImage]


def match_files(names: Iterable[str], files: Sequence[str]) -> list[str | None]:
    """Finds the files that annotations name, which may lie in another folder now.

    Args:
        names (`Iterable[str]`): Paths, with `/`.
        files (`Sequence[str]`): The files that are there, relative to their folder, with `/`.

    Returns:
        `list[str | None]`: Of each name the file that shares the longest end of its path; `None` where there is none,
        or several.
    """
    by_end = defaultdict(list)
    for file in files:
        parts = PurePosixPath(file).parts
        for number in range(1, len(parts) + 1):
            by_end[parts[-number:]].append(file)
    found = []
    for name in names:
        parts = PurePosixPath(name).parts
        matches = next((by_end[end] for start in range(len(parts)) if (end := parts[start:]) in by_end), [])
        # Of a/x.jpg and x.jpg, x.jpg means the second.
        exact = [file for file in matches if file == name] or matches
        found.append(exact[0] if len(exact) == 1 else None)
    return found


def ids_by_name(vocabulary: Sequence[Label]) -> dict[str, int]:
    """Finds classes by any of their names.

    Args:
        vocabulary (`Sequence[str | list[str]]`): The classes.

    Returns:
        `dict[str, int]`: The id of each name after `str.casefold`, and of all names of a class joined by `", "` or
        `" | "`. A name of several classes stands for the one that has it first among its names; it is left out where
        there is no single one.
    """
    entries = [[entry] if isinstance(entry, str) else entry for entry in vocabulary]
    levels = (
        [[", ".join(names), " | ".join(names)] for names in entries],
        [names[:1] for names in entries],
        entries,
    )
    known: dict[str, int] = {}
    for level in levels:
        found = defaultdict(set)
        for index, names in enumerate(level):
            for name in names:
                found[name.casefold()].add(index)
        unique = {name: next(iter(indices)) for name, indices in found.items() if len(indices) == 1}
        known = {**unique, **known}
    return known


__all__ = ["AnnotatedImage", "AnnotationFile", "ids_by_name", "match_files"]
