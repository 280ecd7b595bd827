# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label Studio's export as JSON: polygons and brush (https://labelstud.io/guide/export)."""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from catseg_hf.datasets.annotated import (
    NO_AREA,
    AnnotatedImage,
    AnnotationFile,
    LabeledShape,
    LeftOut,
    checked_polygons,
)
from catseg_hf.datasets.shapes import Brush, Shape


def is_label_studio(content: Any) -> bool:
    """Whether a file is an export of Label Studio.

    Args:
        content (`Any`): The file, as JSON reads it.

    Returns:
        `bool`
    """
    return isinstance(content, list)


def read_label_studio(content: list[Any]) -> AnnotationFile:
    """The annotations of an export.

    Args:
        content (`list`): The file, as JSON reads it.

    Returns:
        [`AnnotationFile`]: Of each task that somebody submitted, the annotation that is marked as ground truth, or the
        last one. Predictions do not count. The classes are those that occur, in alphabetical order. Points, polygons
        without area, and regions without a label are left out.

    Raises:
        ValueError: If something is missing, or cannot be used; names it.
    """
    images, left_out = [], LeftOut()
    for number, task in enumerate(content, 1):
        if not (isinstance(task, dict) and isinstance(task.get("data"), dict)):
            raise ValueError(f"has no `data` in its task {number}: export it from Label Studio as JSON, not JSON-MIN.")
        place = f"task {task.get('id', number)}"
        submitted = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
        if submitted:
            chosen = next((each for each in submitted if each.get("ground_truth")), submitted[-1])
            images.append(_image(task["data"], chosen["result"], place, left_out))
    if not images:
        raise ValueError("has no submitted annotation. Predictions do not count: look at them in Label Studio, submit.")
    names = sorted({shape.class_name for image in images for shape in image.shapes})
    return AnnotationFile(names, images, left_out.remarks(images))


def _image(data: dict[str, Any], results: list[dict[str, Any]], place: str, left_out: LeftOut) -> AnnotatedImage:
    sizes, shapes = set(), []
    for result in results:
        kind, value = result.get("type", ""), result.get("value", {})
        if kind == "keypointlabels":
            left_out.add(NO_AREA, f"a point of {place}")
            continue
        if kind in ("polygon", "brush"):
            left_out.add("region(s) without a label", place)
            continue
        if kind not in ("polygonlabels", "brushlabels"):
            # Choices and texts are about the whole image.
            if kind.endswith("labels"):
                raise ValueError(f"{place} has a region of the type {kind}: use polygons or the brush.")
            continue
        if result.get("image_rotation"):
            raise ValueError(f"{place} has a rotated image: turn it back in Label Studio, or rotate the file.")
        if len(value.get(kind, ())) != 1:
            raise ValueError(f"{place} has a region with {len(value.get(kind, ()))} labels: it needs one.")
        size = (result["original_height"], result["original_width"])
        sizes.add(size)
        region = f"region {result.get('id')} of {place}"
        shape = _shape(value, size, region, left_out)
        if shape is not None:
            shapes.append(LabeledShape(value[kind][0], shape, region))
    if len(sizes) > 1:
        raise ValueError(f"{place} has regions for images of several sizes {sorted(sizes)}.")
    return AnnotatedImage(_file_name(data, place), sizes.pop() if sizes else None, shapes)


def _shape(value: dict[str, Any], size: tuple[int, int], place: str, left_out: LeftOut) -> Shape | None:
    if "rle" in value:
        return Brush(bytes(value["rle"]), size)
    try:
        points = np.array(value.get("points") or np.empty((0, 2)), dtype=float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{place} has `points` that are no pairs of numbers.")
    return checked_polygons([points * (size[1], size[0]) / 100], size, place, left_out)


def _file_name(data: dict[str, Any], place: str) -> str:
    """Path of an image: after `?d=` of local files, else that of the URL, an upload without the key before its name."""
    addresses = [value for value in data.values() if isinstance(value, str)]
    address = data.get("image", addresses[0] if len(addresses) == 1 else None)
    if address is None:
        raise ValueError(f"{place} has no `image` in its `data`, but {sorted(data)}: name it so.")
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return re.sub(r"(/upload/.*)/[0-9a-f]{8}-", r"\1/", path)


__all__ = ["is_label_studio", "read_label_studio"]
