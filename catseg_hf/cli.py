# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The `catseg` command. Each subcommand is one function below; what it needs is imported when it runs."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageOps

from catseg_hf import __version__


app = typer.Typer(
    name="catseg",
    help="Segment photos into classes that you name in your own words.",
    no_args_is_help=True,
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
) -> None:
    """Options of the command itself; with this function, `segment` stays a subcommand even while it is the only one."""


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="The photo.", exists=True, dir_okay=False)],
    labels: Annotated[
        str,
        typer.Option(
            help="The classes, separated by commas: 'cat,grass'. To give a class synonyms, separate classes by "
            "semicolons and synonyms by commas: 'cat,kitten;grass,lawn'. Every pixel goes to the best of the classes."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A folder written by `catseg convert`, `owner/name` on the Hub, or a published checkpoint (base, "
            "large, v1-base, v1-large, v1-huge, v1-giant, mmseg-base), which is downloaded and converted once."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Where to write the picture: a .png or .jpg file.")] = Path(
        "overlay.png"
    ),
) -> None:
    """Segment a photo and draw the classes over it, with a legend."""
    check_output(output)
    photo = read_photo(image)

    # These take seconds to import: what is wrong above is reported at once.
    import torch
    from transformers.utils import logging

    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf.processing_catseg import parse_labels
    from catseg_hf.visualization import overlay

    classes = parse_labels(labels)
    logging.disable_progress_bar()
    model = find_model(model)
    processor = CatSegProcessor.from_pretrained(model)
    network = CatSegForSemanticSegmentation.from_pretrained(model).eval()

    inputs = processor(images=photo, text=classes, return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    size = (photo.height, photo.width)
    segmentation = processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0]

    write_picture(overlay(photo, segmentation, classes), output)
    areas = torch.bincount(segmentation.flatten().cpu(), minlength=len(classes)) / segmentation.numel()
    for index in areas.argsort(descending=True, stable=True).tolist():
        names = classes[index]
        typer.echo(f"{areas[index]:6.1%}  {names if isinstance(names, str) else ', '.join(names)}")
    typer.echo(f"Wrote {output}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    help="Convert an original checkpoint: `catseg convert CHECKPOINT OUTPUT`. `--help` lists the options.",
)
def convert(context: typer.Context) -> None:
    """Hands everything to `python -m convert`, whose options it shares."""
    from catseg_hf.conversion.command import main as convert_main

    raise typer.Exit(convert_main(context.args))


def check_output(path: Path) -> None:
    """Refuses an output path that could not be written, before any work is done.

    Args:
        path (`Path`): Where a picture shall be written.

    Raises:
        ValueError: If it is a folder, or its ending is that of no picture format.
    """
    if path.is_dir():
        raise ValueError(f"--output {path} is a folder: name a file in it, such as {path / 'overlay.png'}.")
    Image.init()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--output {path} has no ending of a picture format: use .png, .jpg or .webp.")


def find_model(name: str) -> str:
    """What `from_pretrained` loads; refuses a model that cannot be had before anything large is loaded.

    Args:
        name (`str`): A folder, a name on the Hub (`owner/name`), or that of a published checkpoint.

    Returns:
        `str`: A folder or a name on the Hub.

    Raises:
        ValueError: If there is no such folder, no model in it, or nothing of that name to be had.
    """
    advice = "give a folder written by `catseg convert`."
    if Path(name).is_dir():
        if not Path(name, "config.json").is_file():
            raise ValueError(f"--model {name} has no config.json: {advice}")
        return name

    from transformers.utils import cached_file

    from catseg_hf.conversion import PUBLISHED, load_original

    if name in PUBLISHED:
        return str(load_original(name))
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise ValueError(f"--model {name} does not exist: {advice}")
    try:
        cached_file(name, "config.json")
    except OSError as error:
        raise ValueError(f"--model {name} is no folder here, and cannot be had from the Hub: {advice}") from error
    return name


def read_photo(path: Path) -> Image.Image:
    """Reads a photo, upright by its EXIF orientation.

    Args:
        path (`Path`): The file.

    Returns:
        `PIL.Image.Image`: The photo, of the mode it has in the file.

    Raises:
        ValueError: If the file is no picture, is damaged, or has more pixels than Pillow accepts from untrusted files.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def write_picture(picture: Image.Image, path: Path) -> None:
    """Writes a picture whole or not at all, making the folder where it is missing.

    Args:
        picture (`PIL.Image.Image`): The picture.
        path (`Path`): The file; its ending gives the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        picture.save(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> None:
    """Entry point of the `catseg` command: errors become one message and exit code 1."""
    try:
        app()
    except (OSError, TypeError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
