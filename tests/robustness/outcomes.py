# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What was tried against the package, what came of it, and the table of both."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "robustness.md"
HEADER = ["| attack | what is tried | tried | right result | refused by name | wrong |", "|---|---|---|---|---|---|"]
# What a user of the package can expect an error to be, and of what the command line prints no more than the message.
REFUSALS = (OSError, TypeError, ValueError)


@dataclass
class Attempts:
    """The attempts of one test, which is one row of the table.

    Args:
        attack (`str`): Kind of the attack.
        what (`str`): What is tried.
    """

    attack: str
    what: str
    right: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def attempt(
        self, case: object, action: Callable[[], Any], is_right: Callable[[Any], bool], names: Sequence[object] = ()
    ) -> None:
        """Tries one thing: its result must be right, or an error must name what is wrong.

        Args:
            case (`object`): What is tried, for the report of what went wrong.
            action (`Callable`): Does it.
            is_right (`Callable`): Judges what `action` returned.
            names (`Sequence[object]`, *optional*): Of these, the message of an error must contain one.
        """
        try:
            result = action()
        except REFUSALS as error:
            self.refusal(case, str(error), names)
        except Exception as error:
            self.wrong.append(f"{case}: {type(error).__name__}: {error}")
        else:
            self.judge(case, is_right(result), "another result")

    def refusal(self, case: object, message: str, names: Sequence[object]) -> None:
        """Counts a refusal; without one of the names, it is a wrong outcome."""
        if message.strip() and (not names or any(str(name) in message for name in names)):
            self.refused += 1
        else:
            self.wrong.append(f"{case}: refused without a name: {message!r}")

    def judge(self, case: object, is_right: bool, problem: str) -> None:
        """Counts a result."""
        if is_right:
            self.right += 1
        else:
            self.wrong.append(f"{case}: {problem}")

    def row(self) -> str:
        """The line of the table."""
        tried = self.right + self.refused + len(self.wrong)
        return f"| {self.attack} | {self.what} | {tried} | {self.right} | {self.refused} | {len(self.wrong)} |"


def is_documented(row: str) -> bool:
    """Whether a row stands in the documents, with as many attempts, and as many of them wrong.

    What right results and refusals are of these can change with a library, and with the words of this repository, which
    hypothesis draws from. With other formats of Pillow, there are other files.
    """
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if sys.platform != "linux" or f"pillow=={version('pillow')}" not in pinned:
        return True
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return _without_shares(row) in map(_without_shares, lines)


def _without_shares(row: str) -> list[str]:
    cells = row.split(" | ")
    return cells[:3] + cells[5:]


def table(rows: Iterable[str]) -> list[str]:
    """The lines of the table, in the order of the attacks."""
    return [*HEADER, *sorted(rows)]


__all__ = ["PAGE", "Attempts", "is_documented", "table"]
