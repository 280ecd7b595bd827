# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Text files as editors and spreadsheets write them: with a byte-order mark, in UTF-16, with quoted cells."""

import codecs
import csv
import os
import re
from pathlib import Path


# Longest first: the mark of UTF-16 is the start of that of UTF-32.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_lines(path: str | os.PathLike[str], *, comment: str | None = None, separators: str = "") -> list[str]:
    """The lines of a text file.

    Args:
        path (`str` or `os.PathLike`):
            A file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark, such as the "Unicode text" of Windows. A
            line in quotation marks is a cell of a CSV file with one column.
        comment (`str`, *optional*): What lines start with that are left out.
        separators (`str`, *optional*, defaults to none):
            Characters that no line may have outside of quotation marks, since there would be several entries on it.

    Returns:
        `list[str]`: The lines that are not empty, without white space around them and without a cell's quotation
        marks.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no text in such an encoding, or a line is more than one entry; the message names it.
    """
    # Not `splitlines`, which knows further ends of lines, such as U+2028 and U+0085.
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path))]
    return [
        _entry(line, separators, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line and not (comment and line.startswith(comment))
    ]


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file.

    Args:
        path (`str` or `os.PathLike`): As for [`read_lines`].

    Returns:
        `str`: The text, without a byte-order mark, its ends of lines as they are.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no text in such an encoding; the message names it.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"{path} is no text in UTF-8, nor in UTF-16 with a byte-order mark: save it as UTF-8."
        raise ValueError(problem) from error
    if "\0" in text:
        raise ValueError(f"{path} is no text, or UTF-16 without a byte-order mark: save it as UTF-8.")
    return text


def _entry(line: str, separators: str, place: str) -> str:
    if not line.startswith('"'):
        found = next((character for character in line if character in separators), None)
        if found is not None:
            raise ValueError(
                f"{place} has {found!r} in it: {line!r}. Write one class a line, ' | ' between synonyms, and a name "
                'that needs the character in quotation marks: "trees, far away".'
            )
        return line
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error:
        cells = []
    if len(cells) != 1 or not cells[0].strip():
        raise ValueError(
            f"{place} starts with a quotation mark, but is not one quoted cell: {line!r}. Put one entry on a line, and "
            'write a quotation mark in it twice: """like"" this".'
        )
    return cells[0].strip()


__all__ = ["read_lines", "read_text"]
