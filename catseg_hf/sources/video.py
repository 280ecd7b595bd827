# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Videos: an overlay video, label maps of the frames, or both."""

from collections.abc import Sequence

import torch
import typer
from PIL import Image
from tqdm.auto import tqdm

from catseg_hf.formats import FORMATS, Format
from catseg_hf.formats.format import VideoOutput
from catseg_hf.formats.video_writer import load_av
from catseg_hf.segmenting import Segmentation, Segmenter
from catseg_hf.segmenting.batches import Named

from .job import Job
from .options import VideoOptions
from .source import Run, Source, Task
from .video_reader import VideoReader


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
                    write_video(segmenter, reader, task, run.job.videos)
                except (OSError, ValueError) as error:
                    run.problems[task.name] = str(error)
                    continue
            typer.echo(task.report())
            if reader.damages:
                run.problems[task.name] = " ".join(reader.damages)


class FrameSegmenter:
    """Segments frames one after the other, with scores that may remember those before.

    `smooth` is how much the class scores of the frames before count, from 0 to below 1: the scores of each view are the
    exponential average `smooth * before + (1 - smooth) * now`. 0.7 takes most of the flicker away, and lets a mask lag
    by two or three frames.
    """

    def __init__(self, segmenter: Segmenter, smooth: float = 0.0) -> None:
        if not 0 <= smooth < 1:
            raise ValueError(f"`smooth` must be from 0 to below 1, got {smooth}.")
        self.segmenter, self.smooth = segmenter, smooth
        self.use_sigmoid = segmenter.processor.image_processor.score_function == "sigmoid"
        self.average = None

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, name: str) -> Segmentation:
        """Segments the next frame: RGB, all of one size."""
        prepared = self.segmenter.prepare([(Named(name), picture)])
        if not self.smooth:
            return self.segmenter.finish(prepared)[0]
        outputs = self.segmenter.run(prepared, keep_rows=True)  # of all frames the same classes
        outputs.logits = self._averaged(outputs.logits.float())
        return self.segmenter.segmentations(prepared, self.segmenter.decide(prepared, outputs))[0]

    def _averaged(self, logits: torch.Tensor) -> torch.Tensor:
        scores = logits.sigmoid() if self.use_sigmoid else logits
        before = scores if self.average is None else self.average
        self.average = torch.lerp(scores, before, self.smooth)
        # Back to logits, which post-processing takes; a score of one would be infinite.
        return self.average.clamp(max=1 - 2**-24).logit() if self.use_sigmoid else self.average


def write_video(segmenter: Segmenter, reader: VideoReader, task: Task, options: VideoOptions) -> None:
    """Segments a video and writes its results with the memory of a few frames."""
    segment_frame = FrameSegmenter(segmenter, options.smooth)
    size = result = None
    with (
        task.results(reader, segmenter.labels) as takers,
        # With the time that is left, where somebody looks.
        tqdm(total=reader.num_frames, unit="frame", disable=None) as bar,
    ):
        for number, frame in enumerate(reader.frames()):
            if size not in (None, frame.picture.size):
                raise ValueError(f"its pictures change from {size} to {frame.picture.size} pixels: cut it there.")
            size, is_segmented = frame.picture.size, number % options.every == 0
            if is_segmented:
                result = segment_frame(frame.picture, f"frame {number}")
            for add in takers:
                add(number, frame, result, is_segmented)
            bar.update()
