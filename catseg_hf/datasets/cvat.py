# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CVAT's XML 1.1 for images: polygons and masks (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/)."""

from pathlib import Path
from xml.etree import ElementTree

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
from catseg_hf.datasets.shapes import BoxRunLengths, Shape


# Lines and points; what has an area, but no outline, is refused. Tags are about the whole image.
WITHOUT_AREA = ("polyline", "points", "skeleton")
REFUSED = ("box", "ellipse", "cuboid")


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses what could define entities, which grow to any size or stand for other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called where a declaration begins, before anything that it defines is used."""
        raise ValueError(f"has a DOCTYPE ({name}), which CVAT does not write: it is not read. Remove that line.")


def read_xml(path: Path) -> ElementTree.Element:
    """An XML file.

    Args:
        path (`Path`): The file.

    Returns:
        `Element`: Its root.

    Raises:
        ValueError: If it is no XML, or has a DOCTYPE.
    """
    try:
        return ElementTree.parse(path, ElementTree.XMLParser(target=_WithoutDoctype())).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"is no XML, or was cut off: {error}.") from error


def is_cvat(content: ElementTree.Element) -> bool:
    """Whether a file is CVAT's XML 1.1.

    Args:
        content (`Element`): The root of the file.

    Returns:
        `bool`
    """
    return content.tag == "annotations"


def read_cvat(content: ElementTree.Element) -> AnnotationFile:
    """The annotations of a file.

    Args:
        content (`Element`): The root of the file.

    Returns:
        [`AnnotationFile`]: With all labels that the file describes, in their order. Shapes are ordered by `z_order`,
        and by their order where that is the same. Lines, points and shapes with `outside="1"` are left out, the
        attributes of labels are not regarded.

    Raises:
        ValueError: If something is missing, or cannot be used; names it.
    """
    elements = content.findall("image")
    if not elements:
        kind = "is CVAT's format for videos" if content.find("track") is not None else "has no image"
        raise ValueError(f'{kind}: export the task as "CVAT for images 1.1".')
    described = [label.findtext("name", "").strip() for label in content.iterfind("meta//labels/label")]
    left_out = LeftOut()
    try:
        images = [_image(element, left_out) for element in elements]
    except KeyError as error:
        raise ValueError(f"lacks {error}, which CVAT's format asks for.") from error
    used = dict.fromkeys(shape.class_name for image in images for shape in image.shapes)
    # Parts of a skeleton are described as well, but have points alone.
    parents = [label.findtext("parent", "").strip() for label in content.iterfind("meta//labels/label")]
    names = dict.fromkeys(name for name, parent in zip(described, parents, strict=True) if name and not parent)
    unknown = [name for name in used if name not in names]
    if names and unknown:
        raise ValueError(f"has shapes of {unknown[0]!r}, which is none of the labels that it describes.")
    return AnnotationFile(list(names) or sorted(used), images, left_out.remarks(images))


def _image(element: ElementTree.Element, left_out: LeftOut) -> AnnotatedImage:
    file_name = element.attrib["name"]
    size = (int(element.attrib["height"]), int(element.attrib["width"]))
    shapes = []
    for number, child in enumerate(element, 1):
        place = f"{child.tag} {number} of the image {file_name}"
        if child.tag in REFUSED:
            raise ValueError(f"{place} has no outline: draw a polygon or a mask, or remove it.")
        if child.tag in WITHOUT_AREA:
            left_out.add(NO_AREA, place)
        elif child.tag in ("polygon", "mask") and child.get("outside") != "1":
            shape = _polygon(child, size, place, left_out) if child.tag == "polygon" else _mask(child, place, left_out)
            if shape is not None:
                order = _whole(child.get("z_order", "0"), place)
                shapes.append((order, LabeledShape(child.attrib["label"], shape, f"{child.tag} {number}")))
    shapes.sort(key=lambda pair: pair[0])
    return AnnotatedImage(file_name, size, [shape for _, shape in shapes])


def _polygon(element: ElementTree.Element, size: tuple[int, int], place: str, left_out: LeftOut) -> Shape | None:
    points = element.attrib["points"].strip(" ;")
    if not points:
        left_out.add(NO_SHAPE, place)
        return None
    try:
        corners = np.array([pair.split(",") for pair in points.split(";")], dtype=float)
    except ValueError:
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError(f"{place} has `points` that are no pairs of numbers.")
    return checked_polygons([corners], size, place, left_out)


def _mask(element: ElementTree.Element, place: str, left_out: LeftOut) -> Shape | None:
    counts = [_whole(count, place) for count in element.attrib["rle"].split(",") if count.strip()]
    if not any(counts[1::2]):
        left_out.add(NO_AREA, place)
        return None
    left, top, width, height = (_whole(element.attrib[key], place) for key in ("left", "top", "width", "height"))
    return BoxRunLengths(counts, (left, top, width, height))


def _whole(text: str, place: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{place} has {text!r} where a whole number belongs.") from error


__all__ = ["is_cvat", "read_cvat", "read_xml"]
