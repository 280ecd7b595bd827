# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment --native`: large images in pieces, from a file to an overview, a label map and outlines."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image

from catseg_hf.app.photo_names import STDIN, is_url
from catseg_hf.app.photo_reading import read_photo
from catseg_hf.app.photo_segmenter import PhotoSegmenter
from catseg_hf.app.photos import Photo, find_photos
from catseg_hf.app.segmentation import NO_CLASS, label_name
from catseg_hf.atomic_files import written_whole
from catseg_hf.image_reading_catseg import MAX_PIXELS, TooManyPixelsError
from catseg_hf.large_images import LabelMapWriter, LargeImageSegmenter, PictureSource, RasterSource, write_geojson
from catseg_hf.large_images.rasters import load_rasterio
from catseg_hf.pictures import overlay
from catseg_hf.prompts_catseg import Label


# The formats, and what follows the image's own name in a folder of results.
LARGE_ENDINGS = {"overlay": ".png", "label-map": ".labels.tif", "geojson": ".geojson"}
TIFF_ENDINGS = (".tif", ".tiff")
# Most pixels of the longer side of an overlay.
OVERVIEW_SIDE = 4096
# What is said of a file instead of stopping at it: decoders raise errors of several kinds.
UNREADABLE = (OSError, ValueError, SyntaxError)


def segment_large_images(
    inputs: Sequence[str],
    output: Path | None,
    formats: Sequence[str],
    load: Callable[[], PhotoSegmenter],
    options: dict[str, Any],
    skip_existing: bool,
) -> None:
    """Segments images one by one and says what became of them.

    Args:
        inputs (`Sequence[str]`), output (`Path`, *optional*), formats (`Sequence[str]`):
            As for [`find_photos`]; formats are keys of `LARGE_ENDINGS`.
        load (`Callable[[], PhotoSegmenter]`): Called once, when the first image was opened.
        options (`dict`): `tile`, `scale`, `overlap` and `batch_size` of [`LargeImageSegmenter`], `bands` and
            `value_range` of [`RasterSource`], as texts.
        skip_existing (`bool`): Whether to leave out images whose results are there.

    Raises:
        ValueError: If an option cannot be used, or an image cannot be segmented; after all others were.
    """
    strange = [kind for kind in formats if kind not in LARGE_ENDINGS]
    if strange:
        raise ValueError(f"--native writes {', '.join(LARGE_ENDINGS)}, not {strange[0]}.")
    if {"label-map", "geojson"} & {*formats}:
        _checked_rasterio()
    raster_options = {name: _numbers(options.pop(name), name) for name in ("bands", "value_range")}
    photos, problems, output = find_photos(inputs, output, formats, LARGE_ENDINGS)
    left = [photo for photo in photos if not (skip_existing and photo.is_done)]
    is_single = len(photos) + len(problems) == 1
    segmenter = None
    for photo in left:
        try:
            source = _open(photo.name, raster_options)
        except UNREADABLE as error:
            problems[photo.name] = f"{error or type(error).__name__}"
            continue
        with closing(source):
            if segmenter is None:
                segmenter = load()
                parts = segmenter.model, segmenter.processor, segmenter.text_embeds
                large = LargeImageSegmenter(*parts, **options)
            try:
                shares = write_large_image(segmenter, large, source, photo)
            except UNREADABLE as error:
                problems[photo.name] = f"{error or type(error).__name__}"
                continue
        typer.echo(_summary(photo, segmenter.labels, shares if is_single else []))
    if len(left) < len(photos):
        typer.echo(f"{len(photos) - len(left)} were there already")
    if problems:
        lines = [f"{name}: {reason}" for name, reason in problems.items()]
        raise ValueError("\n  ".join(lines))


def write_large_image(
    segmenter: PhotoSegmenter, large: LargeImageSegmenter, source: "RasterSource | PictureSource", photo: Photo
) -> np.ndarray:
    """Segments an image and writes its results, each whole or not at all.

    Args:
        segmenter ([`PhotoSegmenter`]): Its labels, threshold and background count.
        large ([`LargeImageSegmenter`]): What segments.
        source ([`ImageSource`]): The image.
        photo ([`Photo`]): Its name, and where the results go.

    Returns:
        `np.ndarray` of shape `(T,)`: The share of each class of the image.

    Raises:
        OSError: If the image cannot be read, or a result not be written.
        ValueError: If outlines have no coordinates.
    """
    targets, counts = photo.targets, np.zeros(len(segmenter.labels) + 1, dtype=np.int64)
    for path in targets.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    picture = source.overview(OVERVIEW_SIDE) if "overlay" in targets else Image.new("RGB", (1, 1))
    reduced = np.full((picture.height, picture.width), NO_CLASS, dtype=np.int32)
    # The pixel in the middle of each reduced one.
    rows = (2 * np.arange(picture.height) + 1) * source.height // (2 * picture.height)
    columns = (2 * np.arange(picture.width) + 1) * source.width // (2 * picture.width)
    with ExitStack() as stack:
        files = {kind: stack.enter_context(written_whole(path)) for kind, path in targets.items()}
        if "geojson" in files and "label-map" not in files:
            folder = tempfile.TemporaryDirectory(prefix=".unfinished-", dir=targets["geojson"].parent)
            files["label-map"] = Path(stack.enter_context(folder), "labels.tif")
        with ExitStack() as writing:
            writer = None
            if "label-map" in files:
                size = source.height, source.width
                writer = LabelMapWriter(files["label-map"], *size, segmenter.labels, source.georeference)
                writing.enter_context(writer)
            for strip in large.strips(source):
                class_ids = segmenter.with_threshold(strip.class_ids, strip.scores)[0]
                class_ids = np.where(strip.class_ids == NO_CLASS, NO_CLASS, class_ids)
                counts += np.bincount(class_ids.ravel() + 1, minlength=len(counts))
                first, last = np.searchsorted(rows, (strip.top, strip.top + len(class_ids)))
                reduced[first:last] = class_ids[rows[first:last] - strip.top][:, columns]
                if writer is not None:
                    writer.write(class_ids)
        if "overlay" in files:
            # Broad edges would hide what is small in an overview.
            edge_width = 1 if picture.width < source.width else None
            drawn = overlay(picture, reduced, segmenter.labels, background_id=NO_CLASS, edge_width=edge_width)
            drawn.save(files["overlay"])
        if "geojson" in files:
            write_geojson(files["label-map"], files["geojson"], Path(photo.name).name)
    return counts[1:] / counts.sum()


def _summary(photo: Photo, labels: Sequence[Label], shares: Sequence[float]) -> str:
    """A line for each class in the image, the largest first, and one for each file."""
    classes = sorted(zip(shares, labels, strict=False), key=lambda pair: -pair[0])
    lines = [f"{share:6.1%}  {label_name(label)}" for share, label in classes if share]
    return "\n".join([*lines, *(f"Wrote {path}" for path in photo.targets.values())])


def _open(name: str, raster_options: dict[str, Any]) -> "RasterSource | PictureSource":
    """TIFF files in pieces; all others are decoded as a whole, up to the limit that holds for photos."""
    if name.lower().endswith(TIFF_ENDINGS) and name != STDIN and not is_url(name):
        _checked_rasterio()
        return RasterSource(name, **raster_options)
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


def _numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    kind, number = (int, (1, 3)) if name == "bands" else (float, (2,))
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in number:
        example = "one or three numbers, such as 3,2,1" if name == "bands" else "two numbers, such as 0,3000"
        raise ValueError(f"--{name.replace('_', '-')} {text} must be {example}.")
    return values


def _checked_rasterio() -> None:
    try:
        load_rasterio()
    except ImportError as error:
        raise ValueError(str(error)) from error


__all__ = ["segment_large_images", "write_large_image"]
