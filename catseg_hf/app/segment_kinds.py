# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Options of `catseg segment` for large images, for videos and for a fleet, and which of these a command is about."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Literal

import typer


VIDEO_ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
# Defaults of options that always have a value.
UNSET = {
    "overlap": 0.25,
    "every": 1,
    "smooth": 0.0,
    "min_area": 0,
    "simplify": 0.0,
    "fill_holes": False,
    "shapes": "polygons",
    "each": "part",
    "image_column": "image",
}

Native = Annotated[
    bool,
    typer.Option(
        "--native",
        help="Large images at their own resolution: windows go over the image, and the results are written in pieces. "
        "overlay is then a picture of at most 4096 pixels, label-map a TIFF with colours, geojson the outlines; of a "
        "GeoTIFF both are georeferenced.",
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=16,
        help="With --native: side of the windows, in pixels of the image.",
        show_default="what the model sees pixel by pixel: 640 for the published checkpoints",
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(help="With --native, instead of --tile: 0.5 shows the model the image at half its size."),
]
Overlap = Annotated[float, typer.Option(min=0, max=0.9, help="With --native: least share that windows overlap.")]
Bands = Annotated[
    str | None,
    typer.Option(help="With --native, of a TIFF: the numbers of its red, green and blue band, such as 3,2,1."),
]
ValueRange = Annotated[
    str | None,
    typer.Option(help="With --native, of a TIFF that has not 8 bits: which values are black and white, as 0,3000."),
]
Every = Annotated[
    int, typer.Option(min=1, help="Of a video: segment every n-th frame; those between keep its classes.")
]
Smooth = Annotated[
    float,
    typer.Option(
        min=0, max=0.99, help="Of a video: how much the scores of the frames before count, against flicker; try 0.7."
    ),
]

Engine = Annotated[
    Literal["process", "ray"],
    typer.Option(
        help="process: this one. ray: processes on all cores or GPUs, of this machine or a cluster, for any number of "
        "photos: of one folder, one .txt list of paths and URLs, or Parquet files with an image column."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: a Ray cluster: auto, host:6379 or ray://host:10001.",
        show_default="a Ray of this machine",
    ),
]
ImageColumn = Annotated[
    str, typer.Option(help="With --engine ray, of Parquet files: the column with the photos' bytes.")
]


def is_video(name: str) -> bool:
    """Whether a file is a video, by its ending.

    Args:
        name (`str`): Its path.

    Returns:
        `bool`
    """
    return PurePath(name).suffix.lower() in VIDEO_ENDINGS


def given_options(options: dict[str, object]) -> list[str]:
    """The options that do not have their defaults.

    Args:
        options (`dict[str, object]`): Values by name.

    Returns:
        `list[str]`: How they are written, such as `--min-area`.
    """
    given = (name for name, value in options.items() if value != UNSET.get(name))
    return ["--" + name.replace("_", "-") for name in given]


def check_kind(
    inputs: Sequence[str],
    native: bool,
    engine: str,
    large: dict[str, object],
    video: dict[str, object],
    annotations: dict[str, object],
    fleet: dict[str, object],
) -> bool:
    """Refuses options that would have no effect.

    Args:
        inputs (`Sequence[str]`): What is to be segmented.
        native (`bool`): The option `--native`.
        engine (`str`): The option `--engine`.
        large, video, annotations, fleet (`dict[str, object]`):
            The other options of large images, of videos, of annotations, which are of photos, and of `--engine ray`.

    Returns:
        `bool`: Whether the inputs are videos.

    Raises:
        ValueError: If there is such an option, or both photos and videos are given.
    """
    videos = [name for name in inputs if is_video(name)]
    if videos and len(videos) < len(inputs):
        raise ValueError(f"{videos[0]} is a video and others are not: give them in separate commands.")
    if native and videos:
        raise ValueError(f"--native is for large images, and {videos[0]} is a video: leave it out.")
    are_photos = not native and not videos
    if engine == "ray" and not are_photos:
        raise ValueError("--engine ray is for photos, and not for videos or --native: leave it out.")
    for options, applies, what in (
        (large, native, "--native"),
        (video, bool(videos), "a video"),
        (annotations, are_photos, "annotations of photos"),
        (fleet, engine == "ray", "--engine ray"),
    ):
        given = given_options(options)
        if given and not applies:
            raise ValueError(f"{given[0]} goes with {what} only.")
    return bool(videos)


__all__ = [
    "Address",
    "Bands",
    "Engine",
    "Every",
    "ImageColumn",
    "Native",
    "Overlap",
    "Scale",
    "Smooth",
    "Tile",
    "ValueRange",
    "check_kind",
    "given_options",
    "is_video",
]
