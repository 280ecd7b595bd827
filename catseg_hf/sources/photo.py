# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos: read, segmented and written, a few at a time."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import typer
from PIL import Image
from tqdm.auto import tqdm

from catseg_hf.formats import ResultFiles
from catseg_hf.segmenting import Segmentation, Segmenter
from catseg_hf.segmenting.background import in_order
from catseg_hf.segmenting.batches import segment_pictures
from catseg_hf.segmenting.photo_reading import picture_or_reason, read_photo

from .source import Run, Source, Task


Segmented = tuple[Task, Segmentation]
SHOWN_ANIMATIONS = 3


class Photos(Source):
    """Photos, each decoded as a whole."""

    title = "photos"
    option_group = "annotations"
    goes_with = "annotations of photos"

    def segment(self, tasks: Sequence[Task], run: Run) -> None:
        """See [`Source.segment`]."""
        job = run.job
        files = ResultFiles(job.formats, job.annotations, run.folder, job.skip_existing)
        left = [task for task in tasks if not (job.skip_existing and task.is_done)]
        num_workers = 0 if len(left) == 1 else job.num_workers  # of a single one there is nothing to do beside it
        segmented = segment_photos(left, run.problems, run.load, job.batch_size, num_workers)
        animations: list[str] = []
        num_written, last = write_results(_noting_animations(segmented, animations), files, num_workers)
        files.finish()
        tell_of_animations(animations, len(animations))
        if not run.is_single:
            skipped = f", {len(tasks) - len(left)} were there already" if len(left) < len(tasks) else ""
            typer.echo(f"Wrote the results of {num_written} photo{'s'[: num_written != 1]} to {run.output}{skipped}")
        elif last is not None:
            task, result = last
            found = sorted(result.segments(), key=lambda segment: -segment["area"])
            typer.echo(task.report((segment["share"], segment["label"]) for segment in found))
        elif tasks and not run.problems:
            typer.echo(f"{run.output} was there already")


def tell_of_animations(first: Sequence[str], number: int) -> None:
    """Says of how many pictures only the first frame was segmented, and names the first of them."""
    if number:
        names = ", ".join(first[:SHOWN_ANIMATIONS]) + (", ..." if number > SHOWN_ANIMATIONS else "")
        typer.echo(f"Of {number:,} animated picture(s) only the first frame was segmented: {names}", err=True)


def segment_photos(
    tasks: Sequence[Task],
    problems: dict[str, str],
    load: Callable[[], Segmenter],
    batch_size: int = 1,
    num_workers: int = 0,
) -> Iterator[Segmented]:
    """Segments any number of photos with the memory of a few batches, under a progress bar where there are several.

    `problems` gets the reason, by name, for each photo that cannot be read; the model is loaded when the first was.
    """
    num_problems = len(problems)
    pictures = _read(tasks, problems, num_workers)
    first = next(pictures, None)
    if first is None:
        return
    segmented = segment_pictures(load(), itertools.chain([first], pictures), batch_size, num_workers)
    # Shown only where somebody looks.
    with tqdm(total=len(tasks), unit="photo", disable=None if len(tasks) > 1 else True) as bar:
        for task_and_result in segmented:
            yield task_and_result
            bar.total = len(tasks) - (len(problems) - num_problems)
            bar.update()


def _noting_animations(segmented: Iterable[Segmented], animations: list[str]) -> Iterator[Segmented]:
    for task, result in segmented:
        if "is_animated" in result.picture.info:
            animations.append(task.name)
        yield task, result


def _read(tasks: Sequence[Task], problems: dict[str, str], num_workers: int) -> Iterator[tuple[Task, Image.Image]]:
    """Reads photos one by one, when they are asked for, or in threads as many ahead."""
    pictures = in_order(lambda task: picture_or_reason(read_photo, task.name), tasks, num_workers)
    for task, picture in zip(tasks, pictures, strict=True):
        if isinstance(picture, str):
            problems[task.name] = picture
        else:
            yield task, picture


def write_results(
    segmented: Iterable[Segmented], files: ResultFiles, num_workers: int = 0
) -> tuple[int, Segmented | None]:
    """Writes photos to their targets, each as soon as it is segmented; returns their number, and the last of them."""
    done: list[str] = []  # which threads can add to at the same time
    last = None

    def write(task_and_result: Segmented) -> Segmented:
        task, result = task_and_result
        try:
            files.write(result, task.targets)
        except OSError as error:
            advice = f"The results of {len(done)} photos before are whole; with --skip-existing the command goes on."
            raise OSError(f"The results of {task.name} cannot be written: {error} {advice}") from error
        done.append(task.name)
        return task_and_result

    written = in_order(write, segmented, num_workers, finish=True)
    try:
        for task_and_result in written:
            last = task_and_result
    except KeyboardInterrupt:
        written.close()
        typer.echo(f"Interrupted after {len(done)} photos. With --skip-existing the command goes on.", err=True)
        raise typer.Exit(130) from None
    return len(done), last
