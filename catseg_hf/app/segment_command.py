# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment`: its options. What it needs further is imported when it runs."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from catseg_hf.command_options import MODEL_HELP, SPEED, Compile, ViewsOption, WeightType
from catseg_hf.formats import DEFAULT_FORMAT, FORMATS, AnnotationOptions, Format
from catseg_hf.option_groups import OptionGroup, option
from catseg_hf.sources.job import DEFAULT_FOLDER, Job
from catseg_hf.sources.options import ClusterOptions, VideoOptions, WindowOptions


if TYPE_CHECKING:
    from catseg_hf.prompts_catseg import Label

# An `Enum`, since typer takes no lists of literals.
FormatName = Enum("FormatName", {format.name: format.name for format in FORMATS})


@dataclass(frozen=True)
class LookForOptions(OptionGroup):
    """The classes, and the model that finds them."""

    panel: ClassVar[str] = "What to look for"

    labels: str | None = option(
        None,
        help="The classes, separated by commas: 'cat,grass'. To give a class synonyms, separate classes by "
        "semicolons and synonyms by commas: 'cat,kitten;grass,lawn'. Every pixel goes to the best of the classes. "
        "Without labels: the classes that the model was trained on.",
    )
    labels_file: str | None = option(
        None,
        help="Instead of --labels: a text file with one class a line, synonyms separated by ' | '; or ade20k_150, "
        "ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or pascal_voc_20b.",
    )
    model: str = option(Job.model, help=MODEL_HELP)
    others: str | None = option(
        None,
        help="Classes that take part and are not shown, so that a label does not get what it does not name: own (those "
        "that the model was trained on), a vocabulary or file as for --labels-file, 'road, sky', or none.",
        show_default="own with a single label, none with several",
    )
    threshold: float | None = option(None, min=0, max=1, help="Pixels whose best class scores less get no class.")
    background: str | None = option(
        None, help="With --threshold or --others: the class for those pixels, one of the labels or another."
    )

    def classes(self) -> "list[Label] | None":
        """The classes that are named, if any are; `ValueError` if they are named twice, or cannot be used."""
        from catseg_hf import load_vocabulary, parse_labels

        if self.labels is not None and self.labels_file is not None:
            raise ValueError("Give either --labels or --labels-file.")
        if self.labels_file is not None:
            return parse_labels(load_vocabulary(self.labels_file), "--labels-file")
        return None if self.labels is None else parse_labels(self.labels, "--labels")


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """What is written, and where."""

    panel: ClassVar[str] = "Results"

    output: Path | None = option(
        None,
        help="A file for one photo; for several, or for a folder of photos, a folder, where each overlay gets the "
        "photo's name and .png.",
        show_default=f"{DEFAULT_FORMAT.default_output} or, of several photos, {DEFAULT_FOLDER}",
    )
    format: list[FormatName] | None = option(
        None,
        help=f"{'; '.join(f'{format.name}: {format.help}' for format in FORMATS)}. Give the option again for several "
        "formats: --output names the first, the others lie beside it. Annotations of a folder are in one file where "
        "the format has that.",
        show_default=DEFAULT_FORMAT.name,
    )
    skip_existing: bool = option(False, help="Leave out photos whose results are there: goes on after a stop.")

    def formats(self) -> tuple[Format, ...]:
        """The formats in the order in which they are named, each once."""
        names = [name.value for name in dict.fromkeys(self.format or [])] or [DEFAULT_FORMAT.name]
        return tuple(format for name in names for format in FORMATS if format.name == name)


def segment(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS",
            help="Photos and videos: files, folders with all that is in them, http(s) URLs, or - for standard input.",
        ),
    ],
    look_for: LookForOptions,
    results: ResultOptions,
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.", rich_help_panel=SPEED)
    ] = Job.device,
    views: ViewsOption = Job.views,
    dtype: WeightType = Job.dtype,
    compile: Compile = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos at a time.", rich_help_panel=SPEED)] = Job.batch_size,
    num_workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Photos that are read, and results that are written, beside the computing.",
            rich_help_panel=SPEED,
        ),
    ] = Job.num_workers,
    annotations: AnnotationOptions,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="Large images at their own resolution: windows go over the image, and the results are written in "
            "pieces. overlay is then a picture of at most 4096 pixels, label-map a TIFF with colours, geojson the "
            "outlines; of a GeoTIFF both are georeferenced.",
            rich_help_panel=WindowOptions.panel,
        ),
    ] = False,
    windows: WindowOptions,
    videos: VideoOptions,
    engine: Annotated[
        Literal["process", "ray"],
        typer.Option(
            help="process: this one. ray: processes on all cores or GPUs, of this machine or a cluster, for any number "
            "of photos: of one folder, one .txt list of paths and URLs, or Parquet files with an image column.",
            rich_help_panel=ClusterOptions.panel,
        ),
    ] = "process",
    cluster: ClusterOptions,
) -> None:
    """Segment photos and draw the classes over them, with a legend.

    A photo that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    from catseg_hf.segmenting.only_named import others_by_default

    classes = look_for.classes()
    has_background = look_for.background is not None
    if has_background and look_for.threshold is None and others_by_default(classes, look_for.others) is None:
        raise ValueError("--background is the class of the pixels below --threshold or of --others: give one too.")
    job = Job(
        model=look_for.model,
        device=device,
        dtype=dtype,
        compiles=compile,
        labels=classes,
        others=look_for.others,
        threshold=look_for.threshold,
        background=look_for.background,
        views=views,
        formats=results.formats(),
        output=results.output,
        skip_existing=results.skip_existing,
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
