# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The `catseg` command. Each subcommand is one function below; what it needs is imported when it runs."""

import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from catseg_hf import __version__


MODEL_HELP = (
    "A published checkpoint (base, large, v1-base, v1-large, v1-huge, v1-giant, mmseg-base), which is downloaded and "
    "converted once, tiny (of drawn scenes, in this package), a folder written by `catseg convert`, or `owner/name` on "
    "the Hub."
)
# Raised with a message for people; of others, the kind is said too.
PLAIN_ERRORS = (OSError, TypeError, ValueError)


class Format(str, Enum):
    """What `catseg segment` writes; an `Enum`, since typer takes no lists of literals."""

    OVERLAY = "overlay"
    LABEL_MAP = "label-map"
    MASKS = "masks"
    RLE = "rle"
    JSON = "json"


app = typer.Typer(
    name="catseg",
    help="Segment photos into classes that you name in your own words.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def print_version(requested: bool) -> None:
    """Prints the version and ends, where `--version` is given."""
    if requested:
        typer.echo(f"catseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; may stand anywhere in the command.")
    ] = False,
) -> None:
    """Options of the command itself; `--debug` is read by `main`."""


@app.command()
def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS", help="Files, folders with all that is in them, http(s) URLs, or - for standard input."
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="The classes, separated by commas: 'cat,grass'. To give a class synonyms, separate classes by "
            "semicolons and synonyms by commas: 'cat,kitten;grass,lawn'. Every pixel goes to the best of the classes. "
            "Without labels: the classes that the model was trained on."
        ),
    ] = None,
    labels_file: Annotated[
        str | None,
        typer.Option(
            help="Instead of --labels: a text file with one class a line, synonyms separated by ' | '; or ade20k_150, "
            "ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or pascal_voc_20b."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "base",
    output: Annotated[
        Path | None,
        typer.Option(
            help="A file for one photo; for several, or for a folder of photos, a folder, where each overlay gets the "
            "photo's name and .png.",
            show_default="overlay.png or, of several photos, segmented",
        ),
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            help="overlay: a picture with a legend. label-map: a PNG of class numbers, 255 for none. masks: a folder "
            "with a mask for each class. rle: COCO's results, as JSON. json: labels, scores, areas and boxes. Give the "
            "option again for several formats: --output names the first, the others lie beside it.",
            show_default="overlay",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Pixels whose best class scores less get no class.")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="With --threshold: the class for those pixels, one of the labels or another.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Type of the weights.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos at a time.")] = 1,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out photos whose results are there: goes on after a stop.")
    ] = False,
) -> None:
    """Segment photos and draw the classes over them, with a legend.

    A photo that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    from catseg_hf.photo_segmenter import load_segmenter, segment_photos
    from catseg_hf.photos import find_photos
    from catseg_hf.segment_outputs import write_result

    classes = read_labels(labels, labels_file)
    if background is not None and threshold is None:
        raise ValueError("--background is the class of the pixels below --threshold: give that too.")
    kinds = [kind.value for kind in dict.fromkeys(formats or [Format.OVERLAY])]
    photos, problems, output = find_photos(inputs, output, kinds)
    is_single = len(photos) + len(problems) == 1
    left = [photo for photo in photos if not (skip_existing and photo.is_done)]
    options = {"threshold": threshold, "background": background, "need_scores": bool({"rle", "json"} & {*kinds})}
    num_written = 0
    try:
        for photo, result in segment_photos(
            left, problems, lambda: load_segmenter(model, device, dtype, classes, **options), batch_size
        ):
            for kind, path in photo.targets.items():
                write_result(result, kind, path)
            num_written += 1
    except KeyboardInterrupt:
        typer.echo(f"Interrupted after {num_written} photos. With --skip-existing the command goes on.", err=True)
        raise typer.Exit(130) from None

    if not is_single:
        skipped = f", {len(photos) - len(left)} were there already" if len(left) < len(photos) else ""
        typer.echo(f"Wrote the results of {num_written} photo{'s'[: num_written != 1]} to {output}{skipped}")
    elif num_written:
        for found in sorted(result.segments(), key=lambda found: -found["area"]):
            typer.echo(f"{found['share']:6.1%}  {found['label']}")
        typer.echo("\n".join(f"Wrote {path}" for path in photo.targets.values()))
    elif photos and not problems:
        typer.echo(f"{output} was there already")
    if problems:
        raise ValueError(problem_list(problems))


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


def problem_list(problems: dict[str, str]) -> str:
    """What the user reads of photos that could not be segmented.

    Args:
        problems (`dict[str, str]`): Why, by the name of the photo.

    Returns:
        `str`: One line for each, and one above them where there are several.
    """
    lines = [f"{name}: {reason}" for name, reason in problems.items()]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} photos could not be segmented:", *lines])


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    help="Convert an original checkpoint: `catseg convert CHECKPOINT OUTPUT`. `--help` lists the options.",
)
def convert(context: typer.Context) -> None:
    """Hands everything to `python -m convert`, whose options it shares."""
    from catseg_hf.conversion.command import main as convert_main

    raise typer.Exit(convert_main(context.args))


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="As for `catseg segment`.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="ade20k_150, ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or "
            "pascal_voc_20b, with --data-root; or a data set of the library `datasets`, with --vocabulary."
        ),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="The folder that holds the benchmarks' folders.")] = None,
    images: Annotated[Path | None, typer.Option(help="Instead of --dataset: a folder of images.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Of --images: a folder of label files of one name.")] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="Classes of other data: a text file, one a line, or a benchmark's name.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The part of --dataset [default: its validation part].")] = None,
    ignore_index: Annotated[
        int | None, typer.Option(help="Of other data: the value of pixels that do not count [default: 255].")
    ] = None,
    reduce_labels: Annotated[
        bool, typer.Option("--reduce-labels", help="Of other data: 0 does not count, and the first class is 1.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results, report and progress [default: results/MODEL/DATASET-PROTOCOL]."),
    ] = None,
    protocol: Annotated[
        Literal["sliding_window", "mmseg_slide", "whole"], typer.Option(help="How images are cut into views.")
    ] = "sliding_window",
    tta: Annotated[bool, typer.Option("--tta", help="Test-time augmentation: six scales, each mirrored too.")] = False,
    shortest_edge: Annotated[int | None, typer.Option(help="Instead of the protocol's, in pixels.")] = None,
    longest_edge: Annotated[int | None, typer.Option(help="Instead of the protocol's, in pixels.")] = None,
    seen: Annotated[
        str | None, typer.Option(help="Classes that the model was trained on, as --vocabulary: reports unseen ones.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="A trial on so many images.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    num_workers: Annotated[int, typer.Option(help="Further processes that read images.")] = 0,
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Type of the weights.")] = "float32",
    device: Annotated[Literal["auto", "cpu"], typer.Option(help="A GPU if there is one, or the CPU.")] = "auto",
    worst: Annotated[int, typer.Option(help="How many of the worst images to draw.")] = 5,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and say so.")
    ] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the mIoUs into the card in the model's folder.")
    ] = False,
    dataset_revision: Annotated[str | None, typer.Option(help="Version of the data set, for the card.")] = None,
) -> None:
    """Measure a model on a data set: both mIoU conventions, per class, with a report.

    An evaluation that was interrupted goes on where it was. With several GPUs, start it by
    `torchrun --nproc-per-node 4 -m catseg_hf.cli evaluate ...`.
    """
    import torch
    from transformers.utils import logging

    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ValueError('`catseg evaluate` needs more libraries: `pip install "catseg-hf[eval]"`.') from error
    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf import evaluation as evaluations
    from catseg_hf import report as reports
    from catseg_hf.model_folders import find_model
    from catseg_hf.protocols import AUGMENTATION_SCALES, Protocol, Segmenter

    if update_card and not Path(model, "README.md").is_file():
        raise ValueError(f"--update-card needs a model folder with a README.md, and --model {model} is none.")
    if update_card and limit is not None:
        raise ValueError("--update-card is for complete evaluations: leave out --limit.")
    scales = AUGMENTATION_SCALES if tta else (1.0,)
    chosen = Protocol(protocol, scales, flip=tta, shortest_edge=shortest_edge, longest_edge=longest_edge)
    data = load_data_set(
        dataset,
        data_root=data_root,
        images=images,
        annotations=annotations,
        vocabulary=vocabulary,
        split=split,
        ignore_index=ignore_index,
        reduce_labels=reduce_labels or None,
    )

    state = PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())
    logging.disable_progress_bar()
    folder = find_model(model)
    processor = CatSegProcessor.from_pretrained(folder)
    network = CatSegForSemanticSegmentation.from_pretrained(folder, dtype=getattr(torch, dtype))
    network = network.to(state.device).eval()
    if output is None:
        name = f"{data.name.replace('/', '_')}-{protocol}{'-tta' if tta else ''}"
        output = Path("results", Path(folder).resolve().name if Path(folder).is_dir() else folder, name)
    try:
        evaluation = evaluations.evaluate(
            network,
            processor,
            data,
            chosen,
            output=output,
            batch_size=batch_size,
            num_workers=num_workers,
            limit=limit,
            seen=seen,
            skip_unreadable=skip_unreadable,
        )
        if state.is_main_process:
            segmenter = Segmenter(network, processor, data.vocabulary, chosen)
            reports.write_report(evaluation, output, data, segmenter, worst)
            typer.echo(reports.results_table(evaluation.results))
            typer.echo(f"\nWrote {output}")
            if update_card:
                typer.echo(f"Updated {reports.update_card(folder, evaluation.results, dataset_revision)}")
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command goes on from what is in {output}.", err=True)
        raise typer.Exit(130) from None
    state.destroy_process_group()


def load_data_set(dataset: str | None, **options: Any) -> Any:
    """The data set that the options of `catseg evaluate` name.

    Args:
        dataset (`str`, *optional*): A benchmark, or a data set of the library `datasets`; `None` for two folders.
        options: The further options, by name; `None` where they were not given.

    Returns:
        `SegmentationDataset`: The data set.

    Raises:
        ValueError: If an option is missing, or one has no effect; names them.
    """
    from catseg_hf.datasets import from_hub_dataset, load_benchmark, load_folder
    from catseg_hf.vocabularies import available_vocabularies

    if dataset is None:
        needed, allowed, kind = {"images", "annotations", "vocabulary"}, {"ignore_index", "reduce_labels"}, ""
    elif dataset in available_vocabularies():
        needed, allowed, kind = {"data_root"}, {"split"}, "a benchmark"
    else:
        needed, allowed = {"vocabulary"}, {"split", "ignore_index", "reduce_labels"}
        kind = f"a data set of the library `datasets`, not one of {', '.join(available_vocabularies())}"
    given = {name: value for name, value in options.items() if value is not None}
    start = "Without --dataset, " if dataset is None else f"With --dataset {dataset}, {kind}, "
    for names, advice in ((needed - given.keys(), "give"), (given.keys() - needed - allowed, "leave out")):
        if names:
            raise ValueError(f"{start}{advice} {', '.join('--' + name.replace('_', '-') for name in sorted(names))}.")
    if dataset is None:
        return load_folder(given.pop("images"), given.pop("annotations"), **given)
    return (from_hub_dataset if "vocabulary" in given else load_benchmark)(dataset, **given)


@app.command()
def demo(
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "tiny",
    host: Annotated[
        str, typer.Option(help="Where the page is served; 0.0.0.0 lets other machines see it.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the page.", show_default="the first free one from 7860")
    ] = None,
) -> None:
    """Start a web page: choose a photo, type labels, see overlay, scores and heat maps. Ctrl-C ends it."""
    try:
        from catseg_hf.web_page import build_page, start_page
    except ImportError as error:
        raise ValueError(str(error)) from error

    page = build_page(model)
    typer.echo(f"Open {start_page(page, host, port)}")
    page.block_thread()


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="The model's folder.", exists=True, file_okay=False)],
    name: Annotated[str, typer.Argument(help="Its name on the Hub, owner/name; made if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="If it is made: only for you.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch; made if it does not exist.")] = None,
    commit_message: Annotated[str | None, typer.Option(help="What the commit is called.")] = None,
) -> None:
    """Upload a model with its processor, tokenizer and card to the Hub, in one commit.

    Log in first, with `hf auth login`.
    """
    from catseg_hf.model_folders import push_folder

    typer.echo(f"Pushed to {push_folder(folder, name, private, revision, commit_message)}")


@app.command()
def info(
    model: Annotated[
        str | None, typer.Argument(help=f"{MODEL_HELP} Without it, versions and devices are shown.")
    ] = None,
) -> None:
    """Show what a model is, or what this installation is."""
    from catseg_hf.model_folders import describe_installation, describe_model, find_model

    for name, value in describe_installation() if model is None else describe_model(find_model(model)):
        typer.echo(f"{name:<14}{value}")


def main() -> None:
    """Entry point of the `catseg` command: errors become one message and exit code 1."""
    # Taken out here, so that it may stand behind the subcommand as well.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        kind = "" if isinstance(error, PLAIN_ERRORS) else f"{type(error).__name__}: "
        typer.echo(f"Error: {kind}{error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
