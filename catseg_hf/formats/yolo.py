# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""YOLO's segmentation format (https://docs.ultralytics.com/datasets/segment/): a text file for each photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .format import AnnotationFormat


if TYPE_CHECKING:
    from .shapes import AnnotatedPhoto

# Corners lie in the middle of pixels, a little to the left and above, since tools round them or cut them off.
IN_PIXEL = 0.49


class Yolo(AnnotationFormat):
    """YOLO's label files."""

    name = "yolo"
    title = "YOLO"
    help = "YOLO's segmentation: labels/*.txt and data.yaml"
    ending = ".yolo"
    default_output = "yolo"
    contents = "labels of YOLO"
    subfolder, photo_ending = "labels", ".txt"
    keeps_endings = False  # its tools find labels by the photo's name without its ending
    holds = frozenset({("polygons", "part")})

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return to_yolo(photo)

    def class_files(self, path: Path, names: Sequence[str], shapes: str) -> dict[Path, str]:
        """See [`AnnotationFormat.class_files`]."""
        return {path / "data.yaml": yolo_data(names)}


def to_yolo(photo: "AnnotatedPhoto") -> str:
    """For each part a line with its class id and the corners of its outline, from 0 to 1; empty without any.

    The corners are in pixels at the border of the part, as of the outlines that OpenCV finds, and parts are drawn with
    those pixels. Holes are joined to the outline by cuts through the part.
    """
    lines = []
    for annotation in photo.annotations:
        for ring in annotation.border_pixels(photo):
            corners = (ring + IN_PIXEL) / (photo.width, photo.height)
            values = " ".join(f"{value:.7f}" for value in corners.ravel())
            lines.append(f"{annotation.class_id} {values}\n")
    return "".join(lines)


def yolo_data(names: Sequence[str]) -> str:
    """The file `data.yaml`, for photos in `images` beside `labels`."""
    import yaml

    content = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000)
