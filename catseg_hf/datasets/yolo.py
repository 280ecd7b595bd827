# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""YOLO's segmentation folders (https://docs.ultralytics.com/datasets/segment/)."""

from pathlib import Path

import numpy as np
import yaml

from catseg_hf.datasets.annotated import AnnotatedImage, AnnotationFile
from catseg_hf.datasets.shapes import PixelPolygon, Shape


# How far outside the image a corner may lie, as Ultralytics has it.
TOLERANCE = 0.01


def read_yolo(data: Path, images: Path, files: list[str]) -> AnnotationFile:
    """The annotations of a folder.

    Args:
        data (`Path`): Its `data.yaml`.
        images (`Path`):
            The folder of the images. Where a folder of its path is called `images`, the labels are in `labels` instead,
            as in Ultralytics' folders; else they are in `labels` beside `data.yaml`.
        files (`list[str]`): The images, relative to their folder.

    Returns:
        [`AnnotationFile`]

    Raises:
        OSError: If images have no file of labels; names some.
        ValueError: If a file cannot be used; names it.
    """
    names = _class_names(data)
    folder = _label_folder(data, images)
    places = {file: folder / Path(file).with_suffix(".txt") for file in files}
    missing = [file for file, place in places.items() if not place.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} images have no labels, such as {images / missing[0]}: looked for "
            f"{places[missing[0]]}, which is empty for an image without annotations."
        )
    return AnnotationFile(names, [AnnotatedImage(file, None, _shapes(place, names)) for file, place in places.items()])


def _class_names(data: Path) -> list[str]:
    try:
        content = yaml.safe_load(data.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{data} is no YAML: {error}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise ValueError(f"{data} has no `names` of the classes 0, 1, 2, …")
    return [str(name) for name in names]


def _label_folder(data: Path, images: Path) -> Path:
    parts = images.resolve().parts
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        folder = Path(*parts[:last], "labels", *parts[last + 1 :])
        if folder.is_dir():
            return folder
    return data.parent / "labels"


def _shapes(place: Path, names: list[str]) -> list[tuple[str, Shape]]:
    shapes: list[tuple[str, Shape]] = []
    for number, line in enumerate(place.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            class_id, *values = line.split()
            points, index = np.array(values, dtype=float), int(class_id)
        except ValueError as error:
            raise ValueError(f"{place}, line {number}: {error}.") from error
        if points.size < 6 or points.size % 2:
            raise ValueError(f"{place}, line {number}: {points.size} numbers are no polygon; boxes cannot be labels.")
        if not (0 <= index < len(names) and (points >= -TOLERANCE).all() and (points <= 1 + TOLERANCE).all()):
            raise ValueError(
                f"{place}, line {number}: needs a class from 0 to {len(names) - 1}, and coordinates from 0 to 1."
            )
        shapes.append((names[index], PixelPolygon(points.reshape(-1, 2))))
    return shapes


__all__ = ["read_yolo"]
