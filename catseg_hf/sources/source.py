# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a source is: what belongs to it, and how it is segmented."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from catseg_hf.atomic_files import written_whole
from catseg_hf.formats.format import Format, Output
from catseg_hf.segmenting import Segmenter

from .job import Job


@dataclass(frozen=True)
class Task:
    """Something to segment."""

    name: str  # its path or URL, or `"-"` for standard input
    targets: Mapping[Output, Path]  # where its results go, by format

    @property
    def is_done(self) -> bool:
        """Whether all results are there."""
        return all(path.exists() for path in self.targets.values())

    @contextmanager
    def results(self, *arguments: Any) -> Iterator[list[Callable[..., None]]]:
        """What takes the parts of the results of a video or of a large image, opened with `arguments`.

        At the end all results are whole; after an error, nothing has changed.
        """
        for path in self.targets.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as whole:
            files = {each: whole.enter_context(written_whole(path)) for each, path in self.targets.items()}
            with ExitStack() as writing:
                yield [writing.enter_context(each.open(path, *arguments)) for each, path in files.items()]

    def report(self, shares: Iterable[tuple[float, str]] = ()) -> str:
        """What the user reads of it: a line for each class with its share, and one for each file."""
        lines = [f"{share:6.1%}  {name}" for share, name in shares]
        return "\n".join([*lines, *(f"Wrote {each.shown_target(path)}" for each, path in self.targets.items())])


@dataclass(frozen=True)
class Run:
    """What a source works with."""

    job: Job
    load: Callable[[], Segmenter]  # loads the model at its first call, and gives the same at all others
    folder: Path | None  # of the results of several inputs; `None` for a single file
    output: Path  # that folder, or the place of the first format of a single file
    is_single: bool  # whether there is one result, of which more is told
    problems: dict[str, str]  # gets the reason, by name, for each input that cannot be segmented


class Source:
    """A kind of inputs."""

    title: ClassVar[str]  # what several are called
    option_group: ClassVar[str]  # field of [`Job`] with the options that are only about these inputs
    goes_with: ClassVar[str]  # what has to be given for these options

    def outputs(self, formats: Sequence[Format]) -> list[Output]:
        """How each of the formats is written of these inputs; a `ValueError` says which can be."""
        return list(formats)

    def check(self, job: Job) -> None:
        """Refuses what cannot be done where all inputs are of this kind, or not without a library."""

    def segment(self, tasks: Sequence[Task], run: Run) -> None:
        """Segments inputs, and says what became of them."""
        raise NotImplementedError
