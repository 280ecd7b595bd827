# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CVAT's XML 1.1 for images (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/)."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .format import AnnotationFormat


if TYPE_CHECKING:
    from .shapes import AnnotatedPhoto

END = "</annotations>\n"


def to_cvat(photo: "AnnotatedPhoto") -> str:
    """A file with one image, with polygons or masks; holes of polygons are joined to the outline by cuts."""
    import numpy as np

    attributes = {"id": "0", "name": photo.file_name, "width": str(photo.width), "height": str(photo.height)}
    image = ElementTree.Element("image", attributes)
    for annotation in photo.annotations:
        common = {"label": photo.names[annotation.class_id], "source": "auto", "occluded": "0", "z_order": "0"}
        if photo.options.shapes == "rle":
            left, top, pixels = annotation.cut_out(photo)
            if not pixels.size:  # simplified, it covers the centre of no pixel
                continue
            # Run lengths, row by row, first of pixels outside the mask.
            changes = np.flatnonzero(np.diff(pixels.ravel(), prepend=0))
            runs = np.diff(changes, prepend=0, append=pixels.size).tolist()
            height, width = pixels.shape
            place = {"left": left, "top": top, "width": width, "height": height}
            mask = {"rle": ", ".join(map(str, runs)), **{name: str(value) for name, value in place.items()}}
            ElementTree.SubElement(image, "mask", {**common, **mask})
            continue
        for ring in annotation.rings():
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
            ElementTree.SubElement(image, "polygon", {**common, "points": points})
    return f"{_head(photo.names)}{ElementTree.tostring(image, encoding='unicode')}\n{END}"


def merge_cvat(pieces: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
    """Joins files of what [`to_cvat`] returns; see [`AnnotationFormat.merge`]."""
    file.write(_head(names))
    for number, path in enumerate(pieces):
        (image,) = ElementTree.fromstring(path.read_bytes()).iter("image")
        image.set("id", str(number))
        file.write(ElementTree.tostring(image, encoding="unicode").strip() + "\n")
    file.write(END)


def _head(names: Sequence[str]) -> str:
    from catseg_hf.pictures import label_colors

    labels = ElementTree.Element("labels")
    for name, color in zip(names, label_colors(names).tolist(), strict=True):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*color)
        ElementTree.SubElement(label, "attributes")
    described = ElementTree.tostring(labels, encoding="unicode")
    start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    return f"{start}<meta><task>{described}</task></meta>\n"


class Cvat(AnnotationFormat):
    """CVAT's XML."""

    name = "cvat"
    title = "CVAT"
    help = "CVAT's XML 1.1 for images"
    ending = ".cvat.xml"
    default_output = "annotations.xml"
    holds = frozenset({("polygons", "part"), ("rle", "part"), ("rle", "class")})
    folder_file = "annotations.xml"
    merge = staticmethod(merge_cvat)

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return to_cvat(photo)
