# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where annotations go: some formats have a file for each photo, others one for all photos of a folder."""

from collections.abc import Sequence
from pathlib import Path


# Of the annotations of a single photo: the default of --output, and what follows its name beside another format.
DEFAULT_OUTPUTS = {
    "coco": "annotations.json",
    "yolo": "yolo",
    "label-studio": "tasks.json",
    "cvat": "annotations.xml",
    "geojson": "segmentation.geojson",
}
ENDINGS = {
    "coco": ".coco.json",
    "yolo": ".yolo",
    "label-studio": ".tasks.json",
    "cvat": ".cvat.xml",
    "geojson": ".geojson",
}
# The files of all photos of a folder. What they are made of lies photo by photo in a hidden folder beside them, so that
# an interrupted run goes on, and another one adds to them.
FOLDER_FILES = {"coco": "annotations.json", "label-studio": "tasks.json", "cvat": "annotations.xml"}
PIECES = ".catseg"


def place_in_folder(output: Path, kind: str) -> Path:
    """The folder that has a file for each photo.

    Args:
        output (`Path`): The folder of results.
        kind (`str`): The format.

    Returns:
        `Path`
    """
    if kind in FOLDER_FILES:
        return output / PIECES / kind
    return output / "labels" if kind == "yolo" else output


def target_in_folder(output: Path, stem: Path, kind: str) -> Path:
    """Where the annotations of one of several photos go.

    Args:
        output (`Path`): The folder of results.
        stem (`Path`): Of the photo, relative to that, without an ending.
        kind (`str`): The format.

    Returns:
        `Path`
    """
    ending = {"yolo": ".txt", "geojson": ".geojson"}.get(kind, ".piece")
    return place_in_folder(output, kind) / f"{stem}{ending}"


def folder_files(output: Path, kinds: Sequence[str]) -> list[Path]:
    """The files of all photos together.

    Args:
        output (`Path`): The folder of results.
        kinds (`Sequence[str]`): Formats, of annotations and others.

    Returns:
        `list[Path]`
    """
    files = [output / FOLDER_FILES[kind] for kind in kinds if kind in FOLDER_FILES]
    if "label-studio" in kinds:
        files.append(config_file(output / FOLDER_FILES["label-studio"]))
    return files


def shown_target(path: Path, kind: str) -> Path:
    """The file in which a user finds the results of a photo.

    Args:
        path (`Path`): Target of the photo.
        kind (`str`): The format, of annotations or another.

    Returns:
        `Path`: The target, or the file of all photos.
    """
    folder = next((parent.parent for parent in path.parents if parent.name == PIECES), None)
    return folder / FOLDER_FILES[kind] if kind in FOLDER_FILES and folder is not None else path


def config_file(tasks: Path) -> Path:
    """The labelling interface that belongs to tasks of Label Studio.

    Args:
        tasks (`Path`): Their file.

    Returns:
        `Path`
    """
    return tasks.with_suffix(".xml")


__all__ = [
    "DEFAULT_OUTPUTS",
    "ENDINGS",
    "FOLDER_FILES",
    "PIECES",
    "config_file",
    "folder_files",
    "place_in_folder",
    "shown_target",
    "target_in_folder",
]
