# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment`: its options. What it needs further is imported when it runs."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catseg_hf.command_options import MODEL_HELP, SPEED, Compile, ViewsOption, WeightType
from catseg_hf.formats import DEFAULT_FORMAT, FORMATS, AnnotationOptions
from catseg_hf.sources.job import DEFAULT_FOLDER, Job
from catseg_hf.sources.options import ClusterOptions, VideoOptions, WindowOptions


if TYPE_CHECKING:
    from catseg_hf.prompts_catseg import Label

LOOK_FOR, RESULTS = "What to look for", "Results"

# An `Enum`, since typer takes no lists of literals.
FormatName = Enum("FormatName", {format.name: format.name for format in FORMATS})

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTOS",
        help="Photos and videos: files, folders with all that is in them, http(s) URLs, or - for standard input.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="The classes, separated by commas: 'cat,grass'. To give a class synonyms, separate classes by "
        "semicolons and synonyms by commas: 'cat,kitten;grass,lawn'. Every pixel goes to the best of the classes. "
        "Without labels: the classes that the model was trained on.",
        rich_help_panel=LOOK_FOR,
    ),
]
LabelsFile = Annotated[
    str | None,
    typer.Option(
        help="Instead of --labels: a text file with one class a line, synonyms separated by ' | '; or ade20k_150, "
        "ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or pascal_voc_20b.",
        rich_help_panel=LOOK_FOR,
    ),
]
Others = Annotated[
    str | None,
    typer.Option(
        help="Classes that take part and are not shown, so that a label does not get what it does not name: own (those "
        "that the model was trained on), a vocabulary or file as for --labels-file, 'road, sky', or none.",
        show_default="own with a single label, none with several",
        rich_help_panel=LOOK_FOR,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Pixels whose best class scores less get no class.", rich_help_panel=LOOK_FOR),
]
Background = Annotated[
    str | None,
    typer.Option(
        help="With --threshold or --others: the class for those pixels, one of the labels or another.",
        rich_help_panel=LOOK_FOR,
    ),
]
Model = Annotated[str, typer.Option(help=MODEL_HELP, rich_help_panel=LOOK_FOR)]
Output = Annotated[
    Path | None,
    typer.Option(
        help="A file for one photo; for several, or for a folder of photos, a folder, where each overlay gets the "
        "photo's name and .png.",
        show_default=f"{DEFAULT_FORMAT.default_output} or, of several photos, {DEFAULT_FOLDER}",
        rich_help_panel=RESULTS,
    ),
]
Formats = Annotated[
    list[FormatName] | None,
    typer.Option(
        "--format",
        help=f"{'; '.join(f'{format.name}: {format.help}' for format in FORMATS)}. Give the option again for several "
        "formats: --output names the first, the others lie beside it. Annotations of a folder are in one file where "
        "the format has that.",
        show_default=DEFAULT_FORMAT.name,
        rich_help_panel=RESULTS,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out photos whose results are there: goes on after a stop.",
        rich_help_panel=RESULTS,
    ),
]
Device = Annotated[
    str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.", rich_help_panel=SPEED)
]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos at a time.", rich_help_panel=SPEED)]
NumWorkers = Annotated[
    int,
    typer.Option(
        min=0, help="Photos that are read, and results that are written, beside the computing.", rich_help_panel=SPEED
    ),
]
Native = Annotated[
    bool,
    typer.Option(
        "--native",
        help="Large images at their own resolution: windows go over the image, and the results are written in pieces. "
        "overlay is then a picture of at most 4096 pixels, label-map a TIFF with colours, geojson the outlines; of a "
        "GeoTIFF both are georeferenced.",
        rich_help_panel=WindowOptions.panel,
    ),
]
Engine = Annotated[
    Literal["process", "ray"],
    typer.Option(
        help="process: this one. ray: processes on all cores or GPUs, of this machine or a cluster, for any number of "
        "photos: of one folder, one .txt list of paths and URLs, or Parquet files with an image column.",
        rich_help_panel=ClusterOptions.panel,
    ),
]


def segment(
    *,
    inputs: Inputs,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    model: Model = Job.model,
    others: Others = None,
    threshold: Threshold = None,
    background: Background = None,
    output: Output = None,
    formats: Formats = None,
    skip_existing: SkipExisting = False,
    views: ViewsOption = Job.views,
    device: Device = Job.device,
    dtype: WeightType = Job.dtype,
    compile: Compile = False,
    batch_size: BatchSize = Job.batch_size,
    num_workers: NumWorkers = Job.num_workers,
    annotations: AnnotationOptions,
    native: Native = False,
    windows: WindowOptions,
    videos: VideoOptions,
    engine: Engine = "process",
    cluster: ClusterOptions,
) -> None:
    """Segment photos and draw the classes over them, with a legend.

    A photo that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    from catseg_hf.segmenting.only_named import others_by_default

    classes = read_labels(labels, labels_file)
    if background is not None and threshold is None and others_by_default(classes, others) is None:
        raise ValueError("--background is the class of the pixels below --threshold or of --others: give one too.")
    names = [name.value for name in dict.fromkeys(formats or [])] or [DEFAULT_FORMAT.name]
    job = Job(
        model=model,
        device=device,
        dtype=dtype,
        compiles=compile,
        labels=classes,
        others=others,
        threshold=threshold,
        background=background,
        views=views,
        formats=tuple(format for name in names for format in FORMATS if format.name == name),
        output=output,
        skip_existing=skip_existing,
        batch_size=batch_size,
        num_workers=num_workers,
        annotations=annotations,
        windows=windows,
        videos=videos,
        cluster=cluster,
    )
    if engine == "ray":
        return _segment_on_ray(inputs, job, native)
    data_set = next((format.name for format in job.formats if format.is_data_set), None)
    if data_set is not None:
        raise ValueError(f"--format {data_set} goes with --engine ray only.")
    if given := cluster.given():
        raise ValueError(f"--{given[0].replace('_', '-')} goes with --engine ray only.")
    from catseg_hf.sources.segment import segment_inputs

    segment_inputs(inputs, job, native)


def _segment_on_ray(inputs: list[str], job: Job, native: bool) -> None:
    if native:
        raise ValueError("--engine ray is for photos, and not for --native: leave it out.")
    try:
        from catseg_hf.fleet.segment_fleet import segment_fleet
    except ImportError as error:
        raise ValueError('--engine ray needs Ray: pip install "catseg-hf[serve]"') from error
    segment_fleet(inputs, job)


def read_labels(labels: str | None, labels_file: str | None) -> "list[Label] | None":
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


__all__ = ["read_labels", "segment"]
