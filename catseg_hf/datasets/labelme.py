# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""LabelMe's JSON, a file for each image: polygons and masks (https://github.com/wkentaro/labelme)."""

import base64
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from catseg_hf.datasets.annotated import (
    NO_AREA,
    AnnotatedImage,
    AnnotationFile,
    LabeledShape,
    LeftOut,
    check_place,
)
from catseg_hf.datasets.shapes import BoxPicture, DrawnPolygon, Shape


# What is no polygon and no mask: lines and points; what has an area, but no outline, is refused.
WITHOUT_AREA = ("line", "linestrip", "point", "points")
OTHER_FILE = "JSON file(s) that are not LabelMe's"


def is_labelme(content: Any) -> bool:
    """Whether a file is LabelMe's JSON.

    Args:
        content (`Any`): The file, as JSON reads it.

    Returns:
        `bool`
    """
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def is_labelme_folder(folder: Path) -> bool:
    """Whether a folder, or one in it, holds a file of LabelMe.

    Args:
        folder (`Path`): The folder.

    Returns:
        `bool`
    """
    # Not read as JSON, since other files can be large.
    contents = (path.read_bytes() for path in _json_files(folder))
    return any(b'"shapes"' in content and b'"imagePath"' in content for content in contents)


def _json_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.[jJ][sS][oO][nN]")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def read_labelme(folder: Path) -> AnnotationFile:
    """The annotations of a folder, and of those in it.

    Args:
        folder (`Path`): The folder; the images can be beside the files, or where these say.

    Returns:
        [`AnnotationFile`]: The classes are those that occur, in alphabetical order. Lines and points are left out, and
        so are JSON files of other kinds.

    Raises:
        ValueError: If something is missing, or cannot be used; names the file.
    """
    images, left_out = [], LeftOut()
    for path in _json_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            content = json.loads(path.read_bytes())
            if is_labelme(content):
                images.append(_image(content, name, left_out))
            else:
                left_out.add(OTHER_FILE, name)
        except KeyError as error:
            raise ValueError(f"{path}: lacks {error}, which LabelMe's format asks for.") from error
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: is not built as LabelMe's format has it ({error!r}): save it anew.") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    names = sorted({shape.class_name for image in images for shape in image.shapes})
    return AnnotationFile(names, images, left_out.remarks(images, f"{folder} "))


def _image(content: dict[str, Any], file: str, left_out: LeftOut) -> AnnotatedImage:
    size = (int(content["imageHeight"]), int(content["imageWidth"]))
    shapes = []
    for number, entry in enumerate(content["shapes"], 1):
        place = f"shape {number} of {file}"
        shape = _shape(entry, size, place, left_out)
        if shape is not None:
            shapes.append(LabeledShape(entry["label"], shape, place))
    # Its path is relative to the file.
    image = posixpath.normpath(posixpath.join(posixpath.dirname(file), content["imagePath"].replace("\\", "/")))
    return AnnotatedImage(image, size, shapes)


def _shape(entry: dict[str, Any], size: tuple[int, int], place: str, left_out: LeftOut) -> Shape | None:
    kind = entry.get("shape_type") or "polygon"  # which old files do not say
    if kind in WITHOUT_AREA:
        left_out.add(NO_AREA, place)
        return None
    if kind not in ("polygon", "mask"):
        raise ValueError(f"{place} is a {kind}, without an outline: draw a polygon or a mask, or remove it.")
    try:
        points = np.array(entry["points"] or np.empty((0, 2)), dtype=float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{place} has `points` that are no pairs of numbers.")
    if len(points):
        check_place([points], size, place)
    if kind == "mask":
        return _mask(entry, points, place, left_out)
    pixels = points.astype(int)
    is_inside = len(points) >= 3 and (pixels.max(axis=0) >= 0).all() and (pixels.min(axis=0) < size[::-1]).all()
    if not is_inside:
        left_out.add(NO_AREA, place)
    return DrawnPolygon(points) if is_inside else None


def _mask(entry: dict[str, Any], points: np.ndarray, place: str, left_out: LeftOut) -> Shape | None:
    if len(points) != 2:
        raise ValueError(f"{place} is a mask with {len(points)} `points`: it needs two corners of its box.")
    (left, top), (right, bottom) = points.astype(int).tolist()
    box = (left, top, right + 1 - left, bottom + 1 - top)  # the last pixels are inside
    try:
        shape = BoxPicture(base64.b64decode(entry["mask"], validate=True), box)
        is_empty = not shape.mask().any()
    except ValueError as error:
        raise ValueError(f"{place} has a damaged mask: {error}") from error
    if is_empty:
        left_out.add(NO_AREA, place)
    return None if is_empty else shape


__all__ = ["is_labelme", "is_labelme_folder", "read_labelme"]
