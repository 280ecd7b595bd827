# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's JSON: instances with polygons or run lengths (https://cocodataset.org/#format-data)."""

from typing import Any

import numpy as np

from catseg_hf.datasets.annotated import (
    NO_AREA,
    NO_SHAPE,
    AnnotatedImage,
    AnnotationFile,
    LabeledShape,
    LeftOut,
    checked_polygons,
)
from catseg_hf.datasets.files import decode_mask
from catseg_hf.datasets.shapes import RunLengths, Shape


# Characters of a compressed mask of one run: no pixel of it is inside.
LONGEST_SINGLE_RUN = 7


def is_coco(content: Any) -> bool:
    """Whether a file is COCO's JSON.

    Args:
        content (`Any`): The file, as JSON reads it.

    Returns:
        `bool`
    """
    return isinstance(content, dict) and "annotations" in content


def read_coco(content: dict[str, Any]) -> AnnotationFile:
    """The annotations of a file.

    Args:
        content (`dict`): The file, as JSON reads it.

    Returns:
        [`AnnotationFile`]: With all categories, in the order of their ids. Annotations without a shape and shapes
        without area are left out.

    Raises:
        ValueError: If something is missing, or cannot be used; names it.
    """
    left_out = LeftOut()
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = _by_id("category", [(category["id"], str(category["name"])) for category in categories])
        entries = [(image["id"], (image["file_name"], _size(image))) for image in content["images"]]
        images = {key: AnnotatedImage(*value, []) for key, value in _by_id("image", entries).items()}
        for annotation in content["annotations"]:
            place = f"annotation {annotation.get('id')}"
            if "caption" in annotation and "segmentation" not in annotation:
                left_out.add(NO_SHAPE, place)
                continue
            name = _of_id(annotation, "category_id", names, place)
            image = _of_id(annotation, "image_id", images, place)
            shape = _shape(annotation, image, f"{place} of the image {image.file_name}", left_out)
            if shape is not None:
                image.shapes.append(LabeledShape(name, shape, place))
    except KeyError as error:
        raise ValueError(f"lacks {error}, which COCO's format asks for.") from error
    found = list(images.values())
    return AnnotationFile(list(names.values()), found, left_out.remarks(found))


def _size(image: dict[str, Any]) -> tuple[int, int]:
    height, width = (int(image[key] or 0) for key in ("height", "width"))
    if height < 1 or width < 1:
        raise ValueError(
            f"has {width} x {height} pixels for the image {image['file_name']}: give its `width` and `height`."
        )
    return height, width


def _by_id(kind: str, entries: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Values by their ids; the same one may be listed twice."""
    found: dict[Any, Any] = {}
    for key, value in entries:
        if found.setdefault(key, value) != value:
            raise ValueError(f"has two {kind} entries of the id {key!r}, {found[key]} and {value}: give one another.")
    return found


def _of_id(annotation: dict[str, Any], key: str, known: dict[Any, Any], place: str) -> Any:
    if key not in annotation:
        raise ValueError(f"{place} lacks `{key}`: add it, or remove the annotation.")
    if annotation[key] not in known:
        raise ValueError(f"{place} has the `{key}` {annotation[key]!r}, which the file does not define.")
    return known[annotation[key]]


def _shape(annotation: dict[str, Any], image: AnnotatedImage, place: str, left_out: LeftOut) -> Shape | None:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        if _is_empty(segmentation, image.size):
            left_out.add(NO_AREA, place)
            return None
        return RunLengths({key: segmentation[key] for key in ("size", "counts")})
    if not segmentation:
        if segmentation is None and annotation.get("bbox"):
            raise ValueError(f"{place} is a box without a `segmentation`: it cannot be a label. Outline or remove it.")
        left_out.add(NO_SHAPE, place)
        return None
    if isinstance(segmentation[0], int | float):  # one polygon, as several tools write it
        segmentation = [segmentation]
    try:
        rings = [np.array(ring, dtype=float) for ring in segmentation]
    except (TypeError, ValueError):
        rings = []
    if not rings or any(ring.ndim != 1 or ring.size % 2 for ring in rings):
        raise ValueError(f"{place} has a polygon that is no list of pairs of numbers.")
    return checked_polygons([ring.reshape(-1, 2) for ring in rings], image.size, place, left_out)


def _is_empty(encoded: dict[str, Any], size: tuple[int, int]) -> bool:
    """Whether run lengths have no pixel. Damaged ones are told of when the image is read."""
    if len(encoded["counts"]) > LONGEST_SINGLE_RUN:
        return False
    try:
        return not decode_mask(*size, encoded).any()
    except ValueError:
        return False


__all__ = ["is_coco", "read_coco"]
