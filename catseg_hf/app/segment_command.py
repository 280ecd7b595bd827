# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment`: its options, and what it says when it is done. What it needs further is imported when it runs."""

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catseg_hf.app import annotation_places
from catseg_hf.app.annotation_options import (
    Each,
    FillHoles,
    ImageUrl,
    MinArea,
    Shapes,
    Simplify,
    annotation_files,
)
from catseg_hf.app.options import MODEL_HELP, Compile, WeightType
from catseg_hf.app.segment_kinds import (
    Address,
    Bands,
    Engine,
    Every,
    ImageColumn,
    Native,
    Overlap,
    Scale,
    Smooth,
    Tile,
    ValueRange,
    check_kind,
)


if TYPE_CHECKING:
    from catseg_hf.app.annotation_files import AnnotationFiles
    from catseg_hf.app.photo_segmenter import PhotoSegmenter
    from catseg_hf.app.photos import Photo
    from catseg_hf.app.segmentation import Segmentation


# Formats that say how sure the model is.
SCORED = {"rle", "json", "coco", "label-studio", "geojson", "parquet"}


class Format(str, Enum):
    """What `catseg segment` writes; an `Enum`, since typer takes no lists of literals."""

    OVERLAY = "overlay"
    LABEL_MAP = "label-map"
    MASKS = "masks"
    RLE = "rle"
    JSON = "json"
    COCO = "coco"
    YOLO = "yolo"
    LABEL_STUDIO = "label-studio"
    CVAT = "cvat"
    GEOJSON = "geojson"
    PARQUET = "parquet"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTOS",
        help="Files, folders with all photos in them, http(s) URLs, or - for standard input; or videos.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="The classes, separated by commas: 'cat,grass'. To give a class synonyms, separate classes by "
        "semicolons and synonyms by commas: 'cat,kitten;grass,lawn'. Every pixel goes to the best of the classes. "
        "Without labels: the classes that the model was trained on."
    ),
]
LabelsFile = Annotated[
    str | None,
    typer.Option(
        help="Instead of --labels: a text file with one class a line, synonyms separated by ' | '; or ade20k_150, "
        "ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or pascal_voc_20b."
    ),
]
Model = Annotated[str, typer.Option(help=MODEL_HELP)]
Output = Annotated[
    Path | None,
    typer.Option(
        help="A file for one photo; for several, or for a folder of photos, a folder, where each overlay gets the "
        "photo's name and .png.",
        show_default="overlay.png or, of several photos, segmented",
    ),
]
Formats = Annotated[
    list[Format] | None,
    typer.Option(
        "--format",
        help="overlay: a picture with a legend. label-map: a PNG of class numbers, 255 for none. masks: a folder "
        "with a mask for each class. rle: COCO's results, as JSON. json: labels, scores, areas and boxes. coco, yolo, "
        "label-studio, cvat and geojson: annotations for other tools, of a folder in one file where the format has "
        "that. parquet: run lengths, with --engine ray. Give the option again for several formats: --output names the "
        "first, the others lie beside it.",
        show_default="overlay",
    ),
]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Pixels whose best class scores less get no class.")
]
Background = Annotated[
    str | None, typer.Option(help="With --threshold: the class for those pixels, one of the labels or another.")
]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos at a time.")]
NumWorkers = Annotated[
    int, typer.Option(min=0, help="Photos that are read, and results that are written, beside the computing.")
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out photos whose results are there: goes on after a stop.")
]


def segment(
    inputs: Inputs,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    model: Model = "base",
    output: Output = None,
    formats: Formats = None,
    threshold: Threshold = None,
    background: Background = None,
    device: Device = "auto",
    dtype: WeightType = "auto",
    compile: Compile = False,
    batch_size: BatchSize = 1,
    num_workers: NumWorkers = 4,
    skip_existing: SkipExisting = False,
    min_area: MinArea = 0,
    simplify: Simplify = 0.0,
    fill_holes: FillHoles = False,
    shapes: Shapes = "polygons",
    each: Each = "part",
    image_url: ImageUrl = None,
    native: Native = False,
    tile: Tile = None,
    scale: Scale = None,
    overlap: Overlap = 0.25,
    bands: Bands = None,
    value_range: ValueRange = None,
    every: Every = 1,
    smooth: Smooth = 0.0,
    engine: Engine = "process",
    address: Address = None,
    image_column: ImageColumn = "image",
) -> None:
    """Segment photos and draw the classes over them, with a legend.

    A photo that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    from catseg_hf.app.photo_segmenter import load_segmenter, segment_photos
    from catseg_hf.app.photos import find_photos, is_one_photo

    classes = read_labels(labels, labels_file)
    if background is not None and threshold is None:
        raise ValueError("--background is the class of the pixels below --threshold: give that too.")
    kinds = _format_names(formats, engine)
    shape_options = {"min_area": min_area, "simplify": simplify, "fill_holes": fill_holes}
    shape_options |= {"shapes": shapes, "each": each}
    large = {"tile": tile, "scale": scale, "overlap": overlap, "bands": bands, "value_range": value_range}
    video = {"every": every, "smooth": smooth}
    fleet = {"address": address, "image_column": image_column}
    annotations = {**shape_options, "image_url": image_url}
    are_videos = check_kind(inputs, native, engine, large, video, annotations, fleet)
    options = {"threshold": threshold, "background": background, "need_scores": bool(SCORED & {*kinds})}
    options["compiles"] = compile
    if engine == "ray":
        job = {"model": model, "device": device, "dtype": dtype, "labels": classes, "kinds": kinds, "options": options}
        job |= {"output": output or Path("segmented"), "annotation_options": shape_options, "image_url": image_url}
        job |= {"batch_size": batch_size, "num_workers": num_workers, "skips_existing": skip_existing}
        return _segment_on_ray(inputs, {**job, "image_column": image_column}, address)

    def load() -> "PhotoSegmenter":
        return load_segmenter(model, device, dtype, classes, **options)

    if native:
        from catseg_hf.app.large_images import segment_large_images

        return segment_large_images(inputs, output, kinds, load, {**large, "batch_size": batch_size}, skip_existing)
    if are_videos:
        from catseg_hf.app.videos import segment_videos

        return segment_videos(inputs, output, kinds, load, video, batch_size, skip_existing)
    photos, problems, output = find_photos(inputs, output, kinds)
    folder = None if is_one_photo(inputs) else output
    files = annotation_files(kinds, shape_options, folder, image_url, skip_existing)
    is_single = len(photos) + len(problems) == 1
    left = [photo for photo in photos if not (skip_existing and photo.is_done)]
    if len(left) == 1:
        num_workers = 0  # there is nothing to do beside it
    segmented = segment_photos(left, problems, load, batch_size, num_workers)
    num_written, last = write_results(segmented, num_workers, files)
    if files is not None:
        files.finish()

    if not is_single:
        skipped = f", {len(photos) - len(left)} were there already" if len(left) < len(photos) else ""
        typer.echo(f"Wrote the results of {num_written} photo{'s'[: num_written != 1]} to {output}{skipped}")
    elif last is not None:
        typer.echo(summary(*last))
    elif photos and not problems:
        typer.echo(f"{output} was there already")
    if problems:
        raise ValueError(problem_list(problems))


def _format_names(formats: list[Format] | None, engine: str) -> list[str]:
    kinds = [kind.value for kind in dict.fromkeys(formats or [Format.OVERLAY])]
    if "parquet" in kinds and engine != "ray":
        raise ValueError("--format parquet goes with --engine ray only.")
    return kinds


def _segment_on_ray(inputs: list[str], job: dict[str, Any], address: str | None) -> None:
    try:
        from catseg_hf.fleet.segment_fleet import segment_fleet
        from catseg_hf.fleet.worker import Job
    except ImportError as error:
        raise ValueError('--engine ray needs Ray: pip install "catseg-hf[serve]"') from error
    segment_fleet(inputs, Job(**job), address)


def write_results(
    segmented: "Iterable[tuple[Photo, Segmentation]]", num_workers: int = 0, files: "AnnotationFiles | None" = None
) -> "tuple[int, tuple[Photo, Segmentation] | None]":
    """Writes photos to their targets, each as soon as it is segmented.

    Args:
        segmented (`Iterable[tuple[Photo, Segmentation]]`): Photos with their segmentations.
        num_workers (`int`, *optional*, defaults to 0): Threads that write.
        files ([`AnnotationFiles`], *optional*): What writes the formats that hold annotations.

    Returns:
        `tuple[int, tuple[Photo, Segmentation] | None]`: How many there were, and the last of them.

    Raises:
        typer.Exit: If the user interrupts, with code 130.
        OSError: If a result cannot be written: names photo and file, and how many are whole.
    """
    from catseg_hf.app.background import in_order
    from catseg_hf.app.photos import write_photo

    done: list[str] = []  # which threads can add to at the same time
    last = None

    def write(photo_and_result: "tuple[Photo, Segmentation]") -> "tuple[Photo, Segmentation]":
        photo, result = photo_and_result
        try:
            write_photo(photo, result, files)
        except OSError as error:
            advice = f"The results of {len(done)} photos before are whole; with --skip-existing the command goes on."
            raise OSError(f"The results of {photo.name} cannot be written: {error} {advice}") from error
        done.append(photo.name)
        return photo_and_result

    written = in_order(write, segmented, num_workers, finish=True)
    try:
        for photo_and_result in written:
            last = photo_and_result
    except KeyboardInterrupt:
        written.close()
        typer.echo(f"Interrupted after {len(done)} photos. With --skip-existing the command goes on.", err=True)
        raise typer.Exit(130) from None
    return len(done), last


def read_labels(labels: str | None, labels_file: str | None) -> list[str | list[str]] | None:
    """The classes that the options name.

    Args:
        labels (`str`, *optional*): As [`parse_labels`] takes them.
        labels_file (`str`, *optional*): As [`load_vocabulary`] takes it.

    Returns:
        `list[str | list[str]]`, *optional*: `None` where neither is given.

    Raises:
        ValueError: If both are given, a label cannot be used, or there is no such file or vocabulary.
    """
    from catseg_hf import load_vocabulary, parse_labels

    if labels is not None and labels_file is not None:
        raise ValueError("Give either --labels or --labels-file.")
    if labels_file is not None:
        return parse_labels(load_vocabulary(labels_file), "--labels-file")
    return None if labels is None else parse_labels(labels, "--labels")


def summary(photo: "Photo", result: "Segmentation") -> str:
    """What the user reads of a single photo.

    Args:
        photo ([`Photo`]): The photo.
        result ([`Segmentation`]): Its segmentation.

    Returns:
        `str`: A line for each class with its share, the largest first, and one for each file.
    """
    found = sorted(result.segments(), key=lambda segment: -segment["area"])
    lines = [f"{segment['share']:6.1%}  {segment['label']}" for segment in found]
    targets = (annotation_places.shown_target(path, kind) for kind, path in photo.targets.items())
    return "\n".join([*lines, *(f"Wrote {path}" for path in targets)])


def problem_list(problems: dict[str, str]) -> str:
    """What the user reads of photos that could not be segmented.

    Args:
        problems (`dict[str, str]`): Why, by the name of the photo.

    Returns:
        `str`: One line for each, and one above them where there are several.
    """
    lines = [f"{name}: {reason}" for name, reason in problems.items()]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} photos could not be segmented:", *lines])


__all__ = ["segment"]
