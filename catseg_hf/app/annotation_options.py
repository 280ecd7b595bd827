# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Options of `catseg segment` for annotations, and what writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from catseg_hf.app import annotation_places
from catseg_hf.app.segment_kinds import given_options


if TYPE_CHECKING:
    from catseg_hf.app.annotation_files import AnnotationFiles


MinArea = Annotated[
    int, typer.Option(min=0, help="Annotations: leave out parts, and fill holes, of fewer pixels than this.")
]
Simplify = Annotated[
    float, typer.Option(min=0, help="Annotations: simplify outlines by up to about so many pixels; 0 is exact.")
]
FillHoles = Annotated[bool, typer.Option("--fill-holes", help="Annotations: parts without their holes.")]
Shapes = Annotated[
    Literal["polygons", "rle"],
    typer.Option(help="Annotations: polygons, or run lengths (coco, label-studio's brush, cvat's masks)."),
]
Each = Annotated[
    Literal["part", "class"], typer.Option(help="Annotations: one for each connected part, or for each class.")
]
ImageUrl = Annotated[
    str | None,
    typer.Option(
        help="Of label-studio: what the addresses of photos start with, before their paths in the folder.",
        show_default="Label Studio's address of local files",
    ),
]


def annotation_files(
    formats: Sequence[str], options: dict[str, Any], folder: Path | None, image_url: str | None, goes_on: bool
) -> "AnnotationFiles | None":
    """What writes annotations.

    Args:
        formats (`Sequence[str]`): All formats.
        options (`dict`): Arguments of [`AnnotationOptions`].
        folder (`Path`, *optional*): As [`AnnotationFiles`] takes it, like what follows.
        image_url (`str`, *optional*): The option `--image-url`.
        goes_on (`bool`): The option `--skip-existing`.

    Returns:
        [`AnnotationFiles`], *optional*: `None` without a format of annotations.

    Raises:
        ValueError: If an option has no effect, a format cannot hold what they ask for, or libraries are missing.
    """
    kinds = [kind for kind in formats if kind in annotation_places.ENDINGS]
    if image_url is not None and "label-studio" not in kinds:
        raise ValueError("--image-url is for --format label-studio: give that too.")
    if not kinds:
        given = given_options(options)
        if given:
            listed = ", ".join(given)
            raise ValueError(f"{listed}: without effect on {', '.join(formats)}; give a --format of annotations too.")
        return None
    try:
        from catseg_hf.annotations import AnnotationOptions
        from catseg_hf.app.annotation_files import AnnotationFiles
    except ImportError as error:
        raise ValueError(str(error)) from error
    return AnnotationFiles(kinds, AnnotationOptions(**options), folder, image_url, goes_on)


__all__ = ["Each", "FillHoles", "ImageUrl", "MinArea", "Shapes", "Simplify", "annotation_files"]
