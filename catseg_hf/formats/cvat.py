# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CVAT's XML 1.1 for images (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/)."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .format import AnnotationFormat


if TYPE_CHECKING:
    from .shapes import AnnotatedPhoto, Annotation

END = "</annotations>\n"


class Cvat(AnnotationFormat):
    """CVAT's XML."""

    name = "cvat"
    title = "CVAT"
    help = "CVAT's XML 1.1 for images"
    ending = ".cvat.xml"
    default_output = "annotations.xml"
    holds = frozenset({("polygons", "part"), ("rle", "part"), ("rle", "class")})
    folder_file = "annotations.xml"

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return to_cvat(photo)

    def merge(self, pieces: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
        """See [`AnnotationFormat.merge`]."""
        merge_cvat(pieces, names, file)


def to_cvat(photo: "AnnotatedPhoto") -> str:
    """The annotations of a photo as XML.

    Args:
        photo ([`AnnotatedPhoto`]): The photo.

    Returns:
        `str`: A file with one image, with polygons or masks. Holes of polygons are joined to the outline by cuts.
    """
    attributes = {"id": "0", "name": photo.file_name, "width": str(photo.width), "height": str(photo.height)}
    image = ElementTree.Element("image", attributes)
    for annotation in photo.annotations:
        common = {"label": photo.names[annotation.class_id], "source": "auto", "occluded": "0", "z_order": "0"}
        if photo.options.shapes == "rle":
            ElementTree.SubElement(image, "mask", {**common, **_mask(annotation, photo)})
            continue
        for ring in annotation.rings():
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
            ElementTree.SubElement(image, "polygon", {**common, "points": points})
    return f"{_head(photo.names)}{ElementTree.tostring(image, encoding='unicode')}\n{END}"


def _mask(annotation: "Annotation", photo: "AnnotatedPhoto") -> dict[str, str]:
    """Run lengths of a box, row by row, first of pixels outside the mask."""
    import numpy as np
    from pycocotools import mask as coco_mask

    encoded = annotation.run_lengths(photo.height, photo.width)
    left, top, width, height = coco_mask.toBbox(encoded).astype(int).tolist()
    pixels = coco_mask.decode(encoded)[top : top + height, left : left + width].ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    runs = np.diff(changes, prepend=0, append=pixels.size).tolist()
    place = {"left": left, "top": top, "width": width, "height": height}
    return {"rle": ", ".join(map(str, runs)), **{name: str(value) for name, value in place.items()}}


def merge_cvat(paths: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
    """Writes the annotations of many photos as one file, with one photo at a time in memory.

    Args:
        paths (`Iterable[Path]`): Files as [`to_cvat`] returns them.
        names (`Sequence[str]`): What the classes are called, the same in all of them.
        file (`TextIO`): What to write to.
    """
    file.write(_head(names))
    for number, path in enumerate(paths):
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


__all__ = ["Cvat", "merge_cvat", "to_cvat"]
