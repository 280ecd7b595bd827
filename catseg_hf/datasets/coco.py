# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's JSON: instances with polygons or run lengths (https://cocodataset.org/#format-data)."""

from typing import Any

import numpy as np

from catseg_hf.datasets.annotated import AnnotatedImage, AnnotationFile
from catseg_hf.datasets.shapes import Polygons, RunLengths, Shape


def read_coco(content: dict[str, Any]) -> AnnotationFile:
    """The annotations of a file.

    Args:
        content (`dict`): The file, as JSON reads it.

    Returns:
        [`AnnotationFile`]: With all categories, in the order of their ids.

    Raises:
        ValueError: If something is missing, or cannot be used; names it.
    """
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = {category["id"]: str(category["name"]) for category in categories}
        images = {
            image["id"]: AnnotatedImage(image["file_name"], (image["height"], image["width"]), [])
            for image in content["images"]
        }
        for annotation in content["annotations"]:
            place = f"annotation {annotation.get('id')}"
            for key, known in (("category_id", names), ("image_id", images)):
                if annotation[key] not in known:
                    raise ValueError(f"{place} has the `{key}` {annotation[key]!r}, which the file does not define.")
            shape = _shape(annotation.get("segmentation"), place)
            images[annotation["image_id"]].shapes.append((names[annotation["category_id"]], shape))
    except KeyError as error:
        raise ValueError(f"lacks {error}, which COCO's format asks for.") from error
    return AnnotationFile(list(names.values()), list(images.values()))


def _shape(segmentation: Any, place: str) -> Shape:
    if isinstance(segmentation, dict):
        return RunLengths({key: segmentation[key] for key in ("size", "counts")})
    rings = [np.array(ring, dtype=float) for ring in segmentation or ()]
    if not rings:
        raise ValueError(f"{place} has no `segmentation`, such as one with a box alone: it cannot be a label.")
    if any(ring.ndim != 1 or ring.size % 2 or ring.size < 6 for ring in rings):
        raise ValueError(f"{place} has a polygon that is no list of at least three pairs of numbers.")
    return Polygons([ring.reshape(-1, 2) for ring in rings])


__all__ = ["read_coco"]
