# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Large images in windows, from a file to an overview, a label map and outlines: `catseg segment --native`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import typer

from catseg_hf.formats import FORMATS, Format
from catseg_hf.formats.format import LargeImageOutput, is_url
from catseg_hf.formats.result_files import STDIN
from catseg_hf.image_reading_catseg import MAX_PIXELS, TooManyPixelsError
from catseg_hf.large_images import LargeImageSegmenter, PictureSource, RasterSource
from catseg_hf.large_images.rasters import load_rasterio
from catseg_hf.segmenting import NO_CLASS, Segmenter, label_name
from catseg_hf.segmenting.photo_reading import read_photo

from .source import Run, Source, Task


TIFF_ENDINGS = (".tif", ".tiff")
# What is said of a file instead of stopping at it: decoders raise errors of several kinds.
UNREADABLE = (OSError, ValueError, SyntaxError)


class LargeImages(Source):
    """Images at their own resolution, in windows."""

    title = "large images"
    option_group = "windows"
    goes_with = "--native"

    def outputs(self, formats: Sequence[Format]) -> list[LargeImageOutput]:
        """See [`Source.outputs`]."""
        strange = next((format.name for format in formats if format.large_image is None), None)
        if strange is not None:
            possible = ", ".join(format.name for format in FORMATS if format.large_image is not None)
            raise ValueError(f"--native writes {possible}, not {strange}.")
        outputs = [format.large_image for format in formats if format.large_image is not None]
        if any(output.needs_rasterio for output in outputs):
            load_rasterio()
        return outputs

    def segment(self, tasks: Sequence[Task], run: Run) -> None:
        """See [`Source.segment`]."""
        left = [task for task in tasks if not (run.job.skip_existing and task.is_done)]
        for task in left:
            try:
                source = open_image(task.name, run.job.windows.of_rasters)
            except UNREADABLE as error:
                run.problems[task.name] = f"{error or type(error).__name__}"
                continue
            with closing(source):
                segmenter, windows = run.load(), run.job.windows
                large = LargeImageSegmenter(
                    segmenter.model,
                    segmenter.processor,
                    segmenter.text_embeds,
                    num_labels=segmenter.num_labels,
                    tile=windows.tile,
                    scale=windows.scale,
                    overlap=windows.overlap,
                    batch_size=run.job.batch_size,
                )
                try:
                    shares = write_large_image(segmenter, large, source, task)
                except UNREADABLE as error:
                    run.problems[task.name] = f"{error or type(error).__name__}"
                    continue
            named = zip(shares, map(label_name, segmenter.labels), strict=True)
            found = sorted((pair for pair in named if pair[0]), key=lambda pair: -pair[0])
            typer.echo(task.report(found if run.is_single else []))
        if len(left) < len(tasks):
            typer.echo(f"{len(tasks) - len(left)} were there already")


def write_large_image(
    segmenter: Segmenter, large: LargeImageSegmenter, source: RasterSource | PictureSource, task: Task
) -> np.ndarray:
    """Segments an image in windows, writes its results, and returns the share of each class, of shape `(T,)`."""
    counts = np.zeros(len(segmenter.labels) + 1, dtype=np.int64)
    with task.results(source, segmenter.labels, Path(task.name).name) as takers:
        for strip in large.strips(source):
            class_ids = np.where(strip.class_ids < segmenter.num_labels, strip.class_ids, NO_CLASS)
            class_ids = segmenter.with_background(class_ids, strip.scores)[0]
            class_ids = np.where(strip.class_ids == NO_CLASS, NO_CLASS, class_ids)
            counts += np.bincount(class_ids.ravel() + 1, minlength=len(counts))
            for add in takers:
                add(strip.top, class_ids)
    return counts[1:] / counts.sum()


def open_image(name: str, raster_options: Mapping[str, Any]) -> RasterSource | PictureSource:
    """Opens an image: TIFF files in pieces, as `raster_options` say, all others up to the limit that holds for photos.

    `name` is a path, an `http(s)` URL, or `"-"` for standard input.
    """
    if name.lower().endswith(TIFF_ENDINGS) and name != STDIN and not is_url(name):
        try:
            return RasterSource(name, **raster_options)
        except ImportError as error:
            raise ValueError(str(error)) from error
    given = next((option for option, value in raster_options.items() if value is not None), None)
    if given is not None:
        raise ValueError(f"--{given.replace('_', '-')} goes with TIFF files only.")
    try:
        return PictureSource(read_photo(name))
    except TooManyPixelsError as error:
        raise ValueError(
            f"It has more than {MAX_PIXELS:,} pixels, the most of a file that must be decoded as a whole: convert it "
            "to TIFF, with `rio convert IN OUT.tif --co TILED=YES`, which is read in pieces of any number."
        ) from error
