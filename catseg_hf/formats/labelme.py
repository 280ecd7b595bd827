# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""LabelMe's JSON (https://github.com/wkentaro/labelme): a file for each photo."""

import base64
import json
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import AnnotationFormat, is_url


if TYPE_CHECKING:
    from .shapes import AnnotatedPhoto, Annotation

# The version of the program whose files these are like.
VERSION = "5.5.0"


class LabelMe(AnnotationFormat):
    """LabelMe's files."""

    name = "labelme"
    title = "LabelMe"
    help = "a JSON file for each photo"
    ending = ".labelme.json"
    photo_ending = ".json"  # the program looks for files with the names of the photos
    default_output = "labelme.json"
    holds = frozenset({("polygons", "part"), ("rle", "part"), ("rle", "class")})
    records_classes = False

    def address(self, name: str, file_name: str, target: Path, image_url: str | None) -> str:
        """The path of the photo from its file; see [`AnnotationFormat.address`]."""
        if is_url(name) or not os.path.isfile(name):
            return file_name
        return Path(os.path.relpath(name, target.parent)).as_posix()

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return json.dumps(to_labelme(photo, address), ensure_ascii=False, indent=2) + "\n"


def to_labelme(photo: "AnnotatedPhoto", image: str | None = None) -> dict[str, Any]:
    """Polygons or masks, for a photo with the path `image` from the file; by default its name.

    The corners of polygons are the pixels at the border of each part, since LabelMe draws the pixels of an outline too;
    holes are joined to it by cuts.
    """
    return {
        "version": VERSION,
        "flags": {},
        "shapes": [shape for annotation in photo.annotations for shape in _shapes(annotation, photo)],
        "imagePath": photo.file_name if image is None else image,
        "imageData": None,
        "imageHeight": photo.height,
        "imageWidth": photo.width,
    }


def _shapes(annotation: "Annotation", photo: "AnnotatedPhoto") -> list[dict[str, Any]]:
    common = {"label": photo.names[annotation.class_id], "group_id": None, "description": "", "flags": {}}
    if photo.options.shapes == "polygons":
        rings = annotation.border_pixels(photo)
        return [{**common, "points": ring.tolist(), "shape_type": "polygon", "mask": None} for ring in rings]
    from PIL import Image

    left, top, pixels = annotation.cut_out(photo)
    if not pixels.size:  # simplified, it covers the centre of no pixel
        return []
    height, width = pixels.shape
    points = [[left, top], [left + width - 1, top + height - 1]]  # the last pixels are inside
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    mask = base64.b64encode(file.getvalue()).decode("ascii")
    return [{**common, "shape_type": "mask", "points": points, "mask": mask}]
