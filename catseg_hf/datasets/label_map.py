# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that say which class the colours, or the numbers, of label files stand for."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from catseg_hf.datasets.annotated import ids_by_name
from catseg_hf.datasets.label_values import IGNORED_NAMES, NamedValues
from catseg_hf.prompts_catseg import Label, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text
from catseg_hf.vocabularies.text_files import read_text


COLOR_HEADER, ID_HEADER, CVAT_HEADER = {"name", "r", "g", "b"}, {"name", "id"}, "# label:color_rgb"
FORMS = (
    "A label map is a CSV file with the first line name,r,g,b or name,id, or CVAT's labelmap.txt, whose first line is "
    "# label:color_rgb:parts:actions."
)
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class LabelMap:
    """What a file says of colours or numbers.

    Args:
        path (`Path`): The file.
        by_color (`bool`): Whether it is about colours.
        names (`dict[int, str]`): The class of each number, or of each colour as [`label_values`] packs it.
    """

    path: Path
    by_color: bool
    names: dict[int, str]

    def classes_and_ids(
        self, vocabulary: Sequence[Label] | None, ignore_index: int
    ) -> tuple[list[Label], "NamedValues"]:
        """The classes, and which values stand for them.

        Args:
            vocabulary (`Sequence[str | list[str]]`, *optional*): The classes; by default those of the file.
            ignore_index (`int`): Id of the pixels that are not scored.

        Returns:
            `tuple[list[str | list[str]], NamedValues]`

        Raises:
            ValueError: If a name is not in the vocabulary, there is no class, or `ignore_index` is the id of one.
        """
        if vocabulary is None:
            unique = {name.casefold(): name for name in reversed(self.names.values())}
            named = [unique[name] for name in dict.fromkeys(name.casefold() for name in self.names.values())]
            named = [name.split(" | ") for name in named if name.casefold() not in IGNORED_NAMES]
            if not named:
                raise ValueError(f"{self.path} names no class but pixels that are not scored.")
            vocabulary = parse_labels(named, str(self.path))
        if ignore_index < len(vocabulary):
            raise ValueError(
                f"`ignore_index={ignore_index}` is the id of one of the {len(vocabulary)} classes: with a label map, "
                f"it is the id that pixels of the names {', '.join(IGNORED_NAMES)} get. Give a larger one."
            )
        known = {**dict.fromkeys(IGNORED_NAMES, ignore_index), **ids_by_name(vocabulary)}
        unknown = [name for name in dict.fromkeys(self.names.values()) if name.casefold() not in known]
        if unknown:
            raise ValueError(
                f"{self.path} names {', '.join(map(repr, unknown[:5]))}, which the vocabulary does not have, or has in "
                f"several classes: add classes, or synonyms to them, or call it {IGNORED_NAMES[0]} if such pixels "
                "shall not be scored."
            )
        values = sorted(self.names)
        class_ids = tuple(known[self.names[value].casefold()] for value in values)
        return list(vocabulary), NamedValues(
            tuple(values), class_ids, len(vocabulary), ignore_index, self.by_color, self.path
        )


def read_label_map(path: str | os.PathLike[str]) -> LabelMap:
    """Reads a label map.

    Args:
        path (`str` or `os.PathLike`):
            A CSV file with a header of `name`, `r`, `g` and `b` (`class_dict.csv`), or of `name` and `id`, in any
            order; or CVAT's `labelmap.txt`. Several colours or ids may have the same name.

    Returns:
        [`LabelMap`]

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is something else; the message names the line.
    """
    path = Path(path).expanduser()
    text = read_text(path)
    by_color, rows = _cvat_rows(text) if text.lstrip().startswith(CVAT_HEADER) else _csv_rows(path, text)
    names: dict[int, str] = {}
    lines: dict[int, int] = {}
    for line, name, numbers in rows:
        place = f"{path}, line {line}"
        value = _value(numbers, by_color)
        cleaned = clean_text(name)
        if value is None or not cleaned:
            wanted = "a name and a colour of three numbers from 0 to 255" if by_color else "a name and an id to 65535"
            raise ValueError(f"{place}: {name!r} with {','.join(numbers)!r} is not {wanted}. {FORMS}")
        if value in names:
            raise ValueError(f"{place}: {','.join(numbers)} is that of line {lines[value]}, too: leave one out.")
        names[value], lines[value] = cleaned, line
    if not names:
        raise ValueError(f"{path} names nothing. {FORMS}")
    return LabelMap(path, by_color, names)


def _cvat_rows(text: str) -> tuple[bool, Iterator[tuple[int, str, list[str]]]]:
    """Whether a file of CVAT is about colours, which it is, and of each line its number, the name and the colour."""
    lines = enumerate(_LINE_END.split(text), start=1)
    cells = ((number, line.split(":")) for number, line in lines if line.strip() and not line.startswith("#"))
    return True, ((number, name, rest[0].split(",") if rest else []) for number, (name, *rest) in cells)


def _csv_rows(path: Path, text: str) -> tuple[bool, list[tuple[int, str, list[str]]]]:
    """Whether a CSV file is about colours, and of each line its number, the name and the colour or the id."""
    rows = []
    for number, line in enumerate(_LINE_END.split(text), start=1):
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True, strict=True), [])]
        except csv.Error as error:
            raise ValueError(f"{path}, line {number}: {line!r} is no line of a CSV file: {error}. {FORMS}") from error
        if any(cells):
            rows.append((number, cells))
    number, header = rows[0] if rows else (1, [])
    columns = {name.lower(): place for place, name in enumerate(header)}
    if set(columns) not in (COLOR_HEADER, ID_HEADER) or len(columns) != len(header):
        raise ValueError(f"{path}, line {number}: {','.join(header)!r} is no header of a label map. {FORMS}")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number}: {','.join(row)!r} has {len(row)} cells, not {len(header)}. {FORMS}"
            )
    by_color = set(columns) == COLOR_HEADER
    wanted = [columns[name] for name in (("r", "g", "b") if by_color else ("id",))]
    return by_color, [(number, row[columns["name"]], [row[place] for place in wanted]) for number, row in rows[1:]]


def _value(numbers: Sequence[str], by_color: bool) -> int | None:
    """A number, or a colour as [`label_values`] packs it; `None` where it is something else."""
    if len(numbers) != (3 if by_color else 1) or not all(re.fullmatch(r"\s*[0-9]{1,5}\s*", cell) for cell in numbers):
        return None
    values = [int(cell) for cell in numbers]
    if max(values) > (255 if by_color else 65535):
        return None
    return values[0] + 256 * values[1] + 65536 * values[2] if by_color else values[0]


__all__ = ["LabelMap", "read_label_map"]
