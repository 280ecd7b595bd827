# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Class names of the data sets that open-vocabulary segmentation is trained and measured on."""

import os
from pathlib import Path

from .text_files import read_lines


FOLDER = Path(__file__).parent


def available_vocabularies() -> list[str]:
    """Names that [`load_vocabulary`] knows.

    Returns:
        `list[str]`: The names, in alphabetical order.

    Example:

    ```python
    >>> from catseg_hf.vocabularies import available_vocabularies

    >>> "coco_stuff_171" in available_vocabularies()
    True
    ```
    """
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load_vocabulary(name: str | os.PathLike[str]) -> list[str | list[str]]:
    """Class names of a data set, in class-id order.

    Args:
        name (`str` or `os.PathLike`):
            One of [`available_vocabularies`]: `"ade20k_150"`, `"ade20k_847"`, `"coco_stuff_171"`,
            `"pascal_context_459"`, `"pascal_context_59"`, `"pascal_voc_20"` or `"pascal_voc_20b"` (PASCAL VOC with
            background: 59 names, of which the last 39 together stand for the background). Or the path of a text file
            with one class a line; ` | ` separates synonyms, lines that start with `#` are comments. It is in UTF-8, or
            in UTF-16 with a byte-order mark; a name with a comma, semicolon or tab stands in quotation marks, as in a
            CSV file.

    Returns:
        `list[str | list[str]]`: One entry per class: its name, or the list of its synonyms, best known first, where
        there are several (of the shipped ones only in `"ade20k_847"`).

    Raises:
        ValueError: If there is no shipped vocabulary and no file of that name, or the file has no class, is
            no text, or has several classes on a line; the message names the line.

    Example:

    ```python
    >>> from catseg_hf import load_vocabulary

    >>> load_vocabulary("pascal_voc_20")[:3]
    ['aeroplane', 'bicycle', 'bird']
    ```
    """
    available = available_vocabularies()
    file = FOLDER / f"{name}.txt" if name in available else Path(name).expanduser()
    if not file.is_file():
        raise ValueError(
            f"There is no vocabulary {os.fspath(name)!r}, nor a file of that name: use one of {', '.join(available)}, "
            "or a text file with one class a line."
        )
    entries = [line.split(" | ") for line in read_lines(file, comment="#", separators=",;\t")]
    if not entries:
        raise ValueError(f"{file} names no class: a vocabulary has one class a line.")
    return [names[0] if len(names) == 1 else names for names in entries]


__all__ = ["available_vocabularies", "load_vocabulary"]
