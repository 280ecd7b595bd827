# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""YOLO's segmentation format (https://docs.ultralytics.com/datasets/segment/): a text file for each photo."""

from collections.abc import Sequence

import numpy as np
import shapely
import yaml

from .rings import single_ring
from .shapes import AnnotatedPhoto


# Tools draw these polygons with their corners rounded, or cut off, to whole pixels, and the pixels of the outline
# included. So corners lie in the middle of the pixels at the border, a little to the left and above.
IN_PIXEL = 0.49
# Of the width of a pixel that an outline moves inwards, less than half of one: then nothing vanishes or falls apart.
INWARDS = 0.4


def to_yolo(photo: AnnotatedPhoto) -> str:
    """The annotations of a photo in YOLO's format.

    Args:
        photo ([`AnnotatedPhoto`]): The photo.

    Returns:
        `str`: For each part a line with its class id and the corners of its outline, from 0 to 1; empty without any.
        The corners are in pixels at the border of the part, as of the outlines that OpenCV finds, and parts are drawn
        with those pixels. Holes are joined to the outline by cuts through the part.
    """
    size = np.array([photo.width, photo.height])
    lines = []
    for annotation in photo.annotations:
        for polygon in annotation.polygons:
            corners = _pixels(polygon, size) + IN_PIXEL
            values = " ".join(f"{value:.7f}" for value in (corners / size).ravel())
            lines.append(f"{annotation.class_id} {values}\n")
    return "".join(lines)


def _pixels(polygon: shapely.Polygon, size: np.ndarray) -> np.ndarray:
    """The pixels, at least three, that the corners of an outline lie in; whole numbers of shape `(N, 2)`."""
    inner = polygon.buffer(-INWARDS, join_style="mitre", mitre_limit=2)
    # What was simplified can be thinner than a pixel.
    ring = single_ring(inner if isinstance(inner, shapely.Polygon) and not inner.is_empty else polygon)
    pixels = np.floor(ring).clip(0, size - 1)
    is_new = np.any(pixels != np.roll(pixels, 1, axis=0), axis=1)
    pixels = pixels[is_new] if is_new.any() else pixels[:1]
    return pixels if len(pixels) >= 3 else np.resize(pixels, (3 if len(pixels) == 1 else 4, 2))


def yolo_data(names: Sequence[str]) -> str:
    """The file `data.yaml`.

    Args:
        names (`Sequence[str]`): What the classes are called.

    Returns:
        `str`: YAML with the names, for photos in `images` beside `labels`.
    """
    content = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000)


__all__ = ["to_yolo", "yolo_data"]
