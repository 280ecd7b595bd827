# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The list of formats, and how one is found in it."""

from .coco import Coco
from .coco_results import CocoResults
from .cvat import Cvat
from .format import AnnotationFormat, Format
from .geojson import GeoJson
from .label_map import LabelMap
from .label_studio import LabelStudio
from .labelme import LabelMe
from .masks import Masks
from .overlay import Overlay
from .parquet import Parquet
from .summary import Summary
from .yolo import Yolo


# All formats, in the order of the help.
FORMATS: tuple[Format, ...] = (
    Overlay(),
    LabelMap(),
    Masks(),
    CocoResults(),
    Summary(),
    Coco(),
    Yolo(),
    LabelStudio(),
    Cvat(),
    LabelMe(),
    GeoJson(),
    Parquet(),
)
# What is written where nothing else is asked for.
DEFAULT_FORMAT = FORMATS[0]
# Those that annotation tools read.
ANNOTATION_FORMATS = tuple(format for format in FORMATS if isinstance(format, AnnotationFormat))
# Those that a service answers in, the one for programs first.
ANSWER_FORMATS = tuple(sorted((each for each in FORMATS if each.media_type), key=lambda each: each.media_type))


def find_format(name: str) -> Format:
    """The format of a name.

    Args:
        name (`str`): What `--format` calls it.

    Returns:
        [`Format`]

    Raises:
        ValueError: If there is none; says which there are.

    Example:

    ```python
    >>> from catseg_hf.formats import find_format

    >>> find_format("label-studio").title
    'Label Studio'
    ```
    """
    for format in FORMATS:
        if format.name == name:
            return format
    raise ValueError(f"There is no format {name!r}: choose one of {', '.join(format.name for format in FORMATS)}.")


def format_of(path: str) -> Format:
    """The format that the ending of a file says.

    Args:
        path (`str`): The file.

    Returns:
        [`Format`]

    Raises:
        ValueError: If the ending can be of several formats or of none; says which.

    Example:

    ```python
    >>> from catseg_hf.formats import format_of

    >>> format_of("annotations.xml").name
    'cvat'
    ```
    """
    name = path.lower()
    for format in FORMATS:
        # Two endings, as in a folder of results: a.labels.png.
        if format.ending.count(".") > 1 and name.endswith(format.ending):
            return format
    of_files = [format for format in FORMATS if not format.is_data_set]
    possible = [format for format in of_files if name.endswith("." + format.ending.rpartition(".")[2])]
    found = [format for format in FORMATS if name.endswith(format.file_endings)] or possible
    if len(found) == 1:
        return found[0]
    listed = ", ".join(format.name for format in possible or of_files)
    raise ValueError(f"The ending of {path} does not say its format: give `format=`, one of {listed}.")
