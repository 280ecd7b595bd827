# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What all annotation files have in common: images with named shapes, and the images found in a folder."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from catseg_hf.datasets.shapes import Polygons, Shape
from catseg_hf.prompts_catseg import Label


# Kinds of what is left out.
NO_SHAPE, NO_AREA = "annotation(s) without a shape", "shape(s) without area in the image"
# How far beside the image a whole shape may lie, in parts of its sides and in pixels: tools write some that are. It is
# left out; what lies farther out was made for an image of another size.
MARGIN, MARGIN_PIXELS = 0.05, 10
# What Label Studio writes before the names of uploads.
UPLOAD_KEY = re.compile(r"[0-9a-f]{8}-(?=[^/])")


class LabeledShape(NamedTuple):
    """A shape of an annotation file.

    Args:
        class_name (`str`): Its class.
        shape (`Shape`): The shape.
        place (`str`): Which annotation it is, for messages.
    """

    class_name: str
    shape: Shape
    place: str


class AnnotatedImage(NamedTuple):
    """An image of an annotation file.

    Args:
        file_name (`str`): What the file calls it: a path, or a URL's.
        size (`tuple[int, int]`, *optional*): Height and width, where the file says it.
        shapes (`list[LabeledShape]`): The annotations; later ones cover earlier ones.
    """

    file_name: str
    size: tuple[int, int] | None
    shapes: list[LabeledShape]


class AnnotationFile(NamedTuple):
    """What an annotation file holds.

    Args:
        class_names (`list[str]`): Its classes, in the order of their ids, or of the alphabet.
        images (`list[AnnotatedImage]`): Its images.
        remarks (`Sequence[str]`): What was left out of it, in sentences.
    """

    class_names: list[str]
    images: list[AnnotatedImage]
    remarks: Sequence[str] = ()


class LeftOut:
    """What of an annotation file cannot be labels and is counted, so that it does not cost all the rest."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, place: str) -> None:
        """Counts one.

        Args:
            kind (`str`): What it is, such as [`NO_AREA`].
            place (`str`): Where it is.
        """
        self.counts[kind] += 1
        self.first.setdefault(kind, place)

    def remarks(self, images: Sequence[AnnotatedImage], start: str = "") -> list[str]:
        """What was left out.

        Args:
            images (`Sequence[AnnotatedImage]`): What is left.
            start (`str`, *optional*, defaults to none): What the error begins with.

        Returns:
            `list[str]`: A sentence for each kind.

        Raises:
            ValueError: If nothing is left.
        """
        sentences = [f"{number:,} {kind} left out, such as {self.first[kind]}." for kind, number in self.counts.items()]
        if sentences and not any(image.shapes for image in images):
            raise ValueError(
                f"{start}has no annotation that can be a label: {' '.join(sentences)} Draw outlines or masks; boxes "
                "alone are none."
            )
        return sentences


def checked_polygons(
    rings: Sequence[np.ndarray], size: tuple[int, int], place: str, left_out: LeftOut
) -> Polygons | None:
    """The shape of some outlines.

    Args:
        rings (`Sequence[np.ndarray]` of shapes `(N, 2)`): Their corners, in pixels.
        size (`tuple[int, int]`): Height and width of the image.
        place (`str`): Which annotation it is.
        left_out ([`LeftOut`]): Counts outlines without area.

    Returns:
        [`Polygons`], *optional*: `None` without any area in the image.

    Raises:
        ValueError: If a coordinate is not finite or far outside of the image.
    """
    kept = [ring for ring in rings if len(ring) >= 3]
    height, width = size
    if sum(map(len, rings)):
        check_place(rings, size, place)
    has_area = False
    if kept:
        left, top, right, bottom = _box(kept)
        has_area = left < right and top < bottom and right > 0 and bottom > 0 and left < width and top < height
    if len(kept) < len(rings) or not has_area:
        left_out.add(NO_AREA, place)
    # Without anything in the image, nothing is painted; what is thin and slanted may have pixels.
    return Polygons(kept) if has_area else None


def check_place(rings: Sequence[np.ndarray], size: tuple[int, int], place: str) -> None:
    """Refuses what cannot be of an image.

    Args:
        rings (`Sequence[np.ndarray]` of shapes `(N, 2)`): Corners, in pixels; at least one.
        size (`tuple[int, int]`): Height and width of the image.
        place (`str`): Which annotation it is.

    Raises:
        ValueError: If a coordinate is not finite or far outside of the image.
    """
    height, width = size
    left, top, right, bottom = _box(rings)
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError(f"{place} has coordinates that are not finite (NaN or infinite): draw it anew, or remove it.")
    if _is_far(left, right, width) or _is_far(top, bottom, height):
        raise ValueError(
            f"{place} lies far outside of its image: x from {left:g} to {right:g} and y from {top:g} to "
            f"{bottom:g}, for {width} x {height} pixels. Mend or remove it; is it of another image or size?"
        )


def _box(rings: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    corners = rings[0] if len(rings) == 1 else np.concatenate(rings)
    return *corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()


def _is_far(low: float, high: float, side: int) -> bool:
    """Whether a shape lies beside the image, or sticks out by more than the image has pixels."""
    margin = max(MARGIN * side, MARGIN_PIXELS)
    return high < -margin or low > side + margin or low < -side - margin or high > 2 * side + margin


def match_files(names: Iterable[str], files: Sequence[str]) -> list[str | None]:
    """Finds the files that annotations name, which may lie in another folder now.

    Args:
        names (`Iterable[str]`):
            Paths, with `/`. Where there is no such file: with backslashes, or as a URL, or with or without the key that
            Label Studio writes before the names of uploads (`cb0618f6-a.png` for `a.png`).
        files (`Sequence[str]`): The files that are there, relative to their folder, with `/`.

    Returns:
        `list[str | None]`: Of each name the file that shares the longest end of its path; `None` where there is none,
        or several, or where several names stand for the same file.
    """
    names = list(names)
    whole = _by_end((file, file) for file in files)
    keyless = _by_end((stripped, file) for file in files if (stripped := without_upload_key(file)) != file)
    found = [_find(name, whole, keyless) for name in names]
    claims = defaultdict(set)
    for name, file in zip(names, found, strict=True):
        claims[file].add(PurePosixPath(name))
    return [file if len(claims[file]) == 1 or file == name else None for name, file in zip(names, found, strict=True)]


def without_upload_key(path: str) -> str:
    """A path without the key of an upload before the name of the file.

    Args:
        path (`str`): The path, with `/`.

    Returns:
        `str`: The same where there is none.
    """
    folder, slash, name = path.rpartition("/")
    return folder + slash + UPLOAD_KEY.sub("", name, count=1) if UPLOAD_KEY.match(name) else path


Ends = dict[tuple[str, ...], list[str]]


def _by_end(paths: Iterable[tuple[str, str]]) -> Ends:
    by_end = defaultdict(list)
    for path, file in paths:
        parts = PurePosixPath(path).parts
        for number in range(1, len(parts) + 1):
            by_end[parts[-number:]].append(file)
    return by_end


def _find(name: str, whole: Ends, keyless: Ends) -> str | None:
    spellings = list(_spellings(name))
    tries = [(spelling, whole) for spelling in spellings]
    tries += [(stripped, whole) for spelling in spellings if (stripped := without_upload_key(spelling)) != spelling]
    tries += [(spelling, keyless) for spelling in spellings]
    for spelling, by_end in tries:
        parts = PurePosixPath(spelling).parts
        matches = next((by_end[end] for start in range(len(parts)) if (end := parts[start:]) in by_end), [])
        if matches:
            # Of a/x.jpg and x.jpg, x.jpg means the second.
            exact = [file for file in matches if file == spelling] or matches
            return exact[0] if len(exact) == 1 else None
    return None


def _spellings(name: str) -> Iterator[str]:
    """A name as it stands, with the separators of Windows, and as the path of a URL or of Label Studio's local files.

    Only what differs from the ones before it.
    """
    yield name
    plain = name.replace("\\", "/")
    if plain != name:
        yield plain
    try:
        parts = urlsplit(plain)
    except ValueError:  # no URL
        return
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].replace("\\", "/")
    if path != plain:
        yield path


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


__all__ = [
    "NO_AREA",
    "NO_SHAPE",
    "AnnotatedImage",
    "AnnotationFile",
    "LabeledShape",
    "LeftOut",
    "check_place",
    "checked_polygons",
    "ids_by_name",
    "match_files",
    "without_upload_key",
]
