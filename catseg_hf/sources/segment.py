# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Everything that a command names: sorted by what it is, segmented, and told about."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from .found import find_inputs
from .job import DEFAULT_FOLDER, Job
from .large_image import LargeImages
from .photo import Photos
from .places import check_folder, place_one, place_several
from .source import Run, Source, Task
from .video import Videos


PHOTOS, LARGE_IMAGES, VIDEOS = Photos(), LargeImages(), Videos()
SOURCES: tuple[Source, ...] = (PHOTOS, LARGE_IMAGES, VIDEOS)


def segment_inputs(inputs: Sequence[str], job: Job, native: bool = False) -> None:
    """Segments photos, videos and, if `native`, large images instead of photos, and says what became of them.

    What cannot be read does not stop the rest: a `ValueError` names it at the end.
    """
    inputs = list(dict.fromkeys(inputs))
    is_one = len(inputs) == 1 and not os.path.isdir(inputs[0])
    output = job.output or DEFAULT_FOLDER
    problems: dict[str, str] = {}
    found = find_inputs(inputs, output, problems)
    pictures = LARGE_IMAGES if native else PHOTOS
    sorted_inputs = {
        pictures: [each for each in found if not each.is_video],
        VIDEOS: [each for each in found if each.is_video],
    }
    # Of what is not there, the options are those of pictures.
    sources = [source for source in SOURCES if sorted_inputs.get(source)] or [pictures]
    if native and sources == [VIDEOS]:
        raise ValueError(f"--native is for large images, and {found[0].name} is a video: leave it out.")
    _check_options(job, sources)
    if is_one and not found:  # what is wrong with the file comes before what does not fit it
        raise ValueError(problem_list(problems, pictures.title))
    if not is_one:
        check_folder(output, inputs)
    if len(sources) == 1:
        sources[0].check(job)

    tasks: dict[Source, list[Task]] = {}
    for source in sources:
        mine = sorted_inputs[source]
        try:
            outputs = source.outputs(job.formats)
        except (ImportError, ValueError) as error:
            if len(sources) == 1:
                raise
            problems.update((each.name, str(error)) for each in mine)
            continue
        if is_one:
            tasks[source] = place_one(inputs[0], mine, job.output, outputs)
            output = job.output or Path(outputs[0].default_output)
        else:
            tasks[source] = place_several(mine, output, outputs, problems)
    is_single = sum(map(len, tasks.values())) + len(problems) == 1
    run = Run(job, functools.cache(job.load), None if is_one else output, output, is_single, problems)
    for source, own_tasks in tasks.items():
        source.segment(own_tasks, run)
    if problems:
        raise ValueError(problem_list(problems, sources[0].title if len(sources) == 1 else "files"))


def _check_options(job: Job, sources: Sequence[Source]) -> None:
    """Refuses options that would have no effect."""
    for source in SOURCES:
        given = getattr(job, source.option_group).given()
        if given and source not in sources:
            raise ValueError(f"--{given[0].replace('_', '-')} goes with {source.goes_with} only.")


def problem_list(problems: dict[str, str], title: str) -> str:
    """A line for each input that could not be segmented, and one above them where there are several."""
    lines = [f"{name}: {reason}" for name, reason in problems.items()]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} {title} could not be segmented:", *lines])
