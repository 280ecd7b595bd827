# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Videos: an overlay video, label maps of the frames, or both."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from tqdm.auto import tqdm

from catseg_hf.atomic_files import written_whole
from catseg_hf.formats import FORMATS, Format
from catseg_hf.formats.format import VideoOutput
from catseg_hf.formats.video_writer import load_av

from .frame_segmenter import FrameSegmenter
from .job import Job
from .options import VideoOptions
from .source import Run, Source, Task
from .video_reader import VideoReader


if TYPE_CHECKING:
    from catseg_hf.segmenting import Segmenter


class Videos(Source):
    """Videos, frame by frame."""

    title = "videos"
    option_group = "videos"
    goes_with = "a video"

    def outputs(self, formats: Sequence[Format]) -> list[VideoOutput]:
        """See [`Source.outputs`]."""
        strange = next((format.name for format in formats if format.video is None), None)
        if strange is not None:
            possible = " and ".join(format.name for format in FORMATS if format.video is not None)
            raise ValueError(f"Of a video, {possible} can be written, not {strange}.")
        return [format.video for format in formats if format.video is not None]

    def check(self, job: Job) -> None:
        """See [`Source.check`]."""
        if job.batch_size != 1:
            raise ValueError(f"--batch-size {job.batch_size}: the frames of a video go one at a time; leave it out.")
        load_av()

    def segment(self, tasks: Sequence[Task], run: Run) -> None:
        """See [`Source.segment`]."""
        for task in tasks:
            if run.job.skip_existing and task.is_done:
                typer.echo(f"The results of {task.name} were there already")
                continue
            folder = next((path for each, path in task.targets.items() if each.contents and path.exists()), None)
            if folder is not None:
                run.problems[task.name] = f"{folder} is there already: remove it, or name another --output."
                continue
            try:
                reader = VideoReader(task.name)
            except (ImportError, OSError) as error:
                run.problems[task.name] = str(error)
                continue
            with reader:
                segmenter = run.load()
                try:
                    write_video(segmenter, reader, task.targets, run.job.videos)
                except (OSError, ValueError) as error:
                    run.problems[task.name] = str(error)
                    continue
            for path in task.targets.values():
                typer.echo(f"Wrote {path}")
            if reader.damages:
                run.problems[task.name] = " ".join(reader.damages)


def write_video(
    segmenter: "Segmenter", reader: VideoReader, targets: Mapping[VideoOutput, Path], options: VideoOptions
) -> None:
    """Segments a video and writes its results, each whole or not at all, with the memory of a few frames.

    Args:
        segmenter ([`Segmenter`]): Model, labels and threshold.
        reader ([`VideoReader`]): The video.
        targets (`Mapping[VideoOutput, Path]`): Where the results go.
        options ([`VideoOptions`]): How it is segmented.

    Raises:
        OSError: If nothing can be read.
        ValueError: If the size changes within the video, or the sound cannot be kept.
    """
    segment_frame = FrameSegmenter(segmenter, options.smooth)
    size = result = None
    with ExitStack() as whole:
        for path in targets.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        files = {each: whole.enter_context(written_whole(path)) for each, path in targets.items()}
        with ExitStack() as writing:
            takers = [writing.enter_context(each.open(path, reader, segmenter.labels)) for each, path in files.items()]
            # With the time that is left, where somebody looks.
            bar = writing.enter_context(tqdm(total=reader.num_frames, unit="frame", disable=None))
            for number, frame in enumerate(reader.frames()):
                if size not in (None, frame.picture.size):
                    raise ValueError(f"its pictures change from {size} to {frame.picture.size} pixels: cut it there.")
                size, is_segmented = frame.picture.size, number % options.every == 0
                if is_segmented:
                    result = segment_frame(frame.picture, f"frame {number}")
                for add in takers:
                    add(number, frame, result, is_segmented)
                bar.update()


__all__ = ["Videos", "write_video"]
