# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the pages that the build makes have in common."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MadePage:
    """A page that is made by the build.

    Args:
        path (`str`): Where it lies, as if it were a file of the repository.
        title (`str`): In the navigation.
        text (`str`): Markdown.
    """

    path: str
    title: str
    text: str


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown.

    Args:
        heads (`Sequence[str]`): Of the columns.
        rows (`Sequence[Sequence[str]]`): Cells, as Markdown.

    Returns:
        `str`
    """
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        lines.append(f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in row)} |")
    return "\n".join(lines)
