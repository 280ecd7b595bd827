# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a source is: what belongs to it, and how it is segmented."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from catseg_hf.formats.format import Format, Output

from .job import Job


if TYPE_CHECKING:
    from catseg_hf.segmenting import Segmenter


@dataclass(frozen=True)
class Task:
    """Something to segment.

    Args:
        name (`str`): Its path or URL, or `"-"` for standard input.
        targets (`Mapping[Output, Path]`): Where its results go, by format.
    """

    name: str
    targets: Mapping[Output, Path]

    @property
    def is_done(self) -> bool:
        """Whether all results are there."""
        return all(path.exists() for path in self.targets.values())


@dataclass(frozen=True)
class Run:
    """What a source works with.

    Args:
        job ([`Job`]): What is done.
        load (`Callable[[], Segmenter]`): Loads the model at its first call, and gives the same at all others.
        folder (`Path`, *optional*): The folder of results of several inputs; `None` for a single file.
        output (`Path`): That folder, or the place of the first format of a single file.
        is_single (`bool`): Whether there is one result, of which more is told.
        problems (`dict[str, str]`): Gets the reason, by name, for each input that cannot be segmented.
    """

    job: Job
    load: "Callable[[], Segmenter]"
    folder: Path | None
    output: Path
    is_single: bool
    problems: dict[str, str]


class Source:
    """A kind of inputs.

    Attributes:
        title (`str`): What several are called.
        option_group (`str`): Field of [`Job`] with the options that are only about these inputs.
        goes_with (`str`): What has to be given for these options.
    """

    title: ClassVar[str]
    option_group: ClassVar[str]
    goes_with: ClassVar[str]

    def outputs(self, formats: Sequence[Format]) -> list[Output]:
        """How formats are written of these inputs.

        Args:
            formats (`Sequence[Format]`): The formats.

        Returns:
            `list[Output]`: One for each.

        Raises:
            ValueError: If one cannot be written of them; says which can.
        """
        raise NotImplementedError

    def check(self, job: Job) -> None:
        """Refuses what cannot be done where all inputs are of this kind.

        Args:
            job ([`Job`]): What is to be done.

        Raises:
            ValueError: If it cannot be done.
            ImportError: If a library is missing.
        """

    def segment(self, tasks: Sequence[Task], run: Run) -> None:
        """Segments inputs, and says what became of them.

        Args:
            tasks (`Sequence[Task]`): The inputs, with the places of their results.
            run ([`Run`]): What to work with.

        Raises:
            OSError: If a result cannot be written.
        """
        raise NotImplementedError


__all__ = ["Run", "Source", "Task"]
