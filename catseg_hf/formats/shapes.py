# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""From a label map to the outlines of its parts, exact to the pixel or simplified without gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np


try:
    import shapely
    from pycocotools import mask as coco_mask
    from skimage.measure import label as label_parts
except ImportError as error:
    raise ImportError('Annotations need further libraries: `pip install "catseg-hf[annotate]"`.') from error

from .options import AnnotationOptions
from .rings import border_pixels, single_ring


@dataclass(frozen=True)
class Annotation:
    """A part of a photo, or all parts of a class.

    Coordinates are in pixels of the photo: (0, 0) is the upper left corner of the first pixel, whose centre is
    (0.5, 0.5), and x runs to the right, y down.
    """

    class_id: int
    polygons: Sequence[shapely.Polygon]  # its outlines, with holes
    score: float | None = None  # mean of its pixels

    @property
    def area(self) -> float:
        """In pixels, without holes."""
        return sum(polygon.area for polygon in self.polygons)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return tuple(shapely.total_bounds(self.polygons).tolist())

    def rings(self) -> list[np.ndarray]:
        """Each polygon as one ring of shape `(N, 2)`, not closed, with holes joined to it by cuts."""
        return [single_ring(polygon) for polygon in self.polygons]

    def border_pixels(self, photo: "AnnotatedPhoto") -> list[np.ndarray]:
        """Of each polygon the pixels at its border, of shape `(N, 2)`; see [`border_pixels`]."""
        size = np.array([photo.width, photo.height])
        return [border_pixels(polygon, size) for polygon in self.polygons]

    def mask(self, height: int, width: int) -> np.ndarray:
        """The pixels whose centres it holds, in a photo of that size: True or False, of shape `(height, width)`."""
        return coco_mask.decode(self.run_lengths(height, width)).astype(bool)

    def cut_out(self, photo: "AnnotatedPhoto") -> tuple[int, int, np.ndarray]:
        """The left and the top of its pixels, and a mask as large as their box."""
        encoded = self.run_lengths(photo.height, photo.width)
        left, top, width, height = coco_mask.toBbox(encoded).astype(int).tolist()
        return left, top, coco_mask.decode(encoded)[top : top + height, left : left + width].astype(bool)

    def run_lengths(self, height: int, width: int) -> dict[str, Any]:
        """Its mask as `pycocotools.mask` has it: `size`, and `counts` as bytes."""
        flat = [ring.ravel().tolist() for ring in self.rings()]
        return coco_mask.merge(coco_mask.frPyObjects(flat, height, width))


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo with its annotations."""

    file_name: str  # relative to the folder of the photos, with `/`
    height: int  # upright
    width: int
    names: Sequence[str]  # what the classes are called, in class-id order
    annotations: Sequence[Annotation]  # the largest first, so that whoever draws one over the other hides none
    options: AnnotationOptions  # how they were made

    @property
    def stem(self) -> str:
        """`file_name` without its ending."""
        return str(PurePosixPath(self.file_name).with_suffix(""))


def annotate(
    file_name: str,
    class_ids: np.ndarray,
    names: Sequence[str],
    scores: np.ndarray | None = None,
    options: AnnotationOptions | None = None,
    size: tuple[int, int] | None = None,
) -> AnnotatedPhoto:
    """Makes annotations of a label map, of shape `(height, width)` and negative where there is no class.

    `size` is height and width of the photo, where the map has another; pixels of `options` are those of the map.
    """
    options = options or AnnotationOptions()
    class_ids = np.asarray(class_ids)
    if class_ids.ndim != 2 or not np.issubdtype(class_ids.dtype, np.integer):
        raise ValueError(f"`class_ids` must be integers of shape (height, width), got {class_ids.shape}.")
    class_ids = class_ids.astype(np.int32)
    if class_ids.max(initial=-1) >= len(names):
        raise ValueError(f"`class_ids` has the class {class_ids.max()}, and there are {len(names)} names from 0.")
    # Background 0, parts from 1, each of pixels of one class that share edges.
    parts = label_parts(class_ids + 1, background=0, connectivity=1)
    number = int(parts.max(initial=0)) + 1
    class_of = np.zeros(number, dtype=np.int64)
    class_of[parts] = class_ids
    areas = np.bincount(parts.ravel(), minlength=number)
    totals = None if scores is None else np.bincount(parts.ravel(), scores.ravel(), number)

    polygons, part_of = outlines(parts)
    if options.simplify:
        # What has no class belongs to the coverage too, so that its borders are simplified like others.
        polygons = shapely.coverage_simplify(polygons, options.simplify, simplify_boundary=False)
    kept = (part_of > 0) & (areas[part_of] >= options.min_area)
    height, width = class_ids.shape if size is None else size
    scale = np.array([width / class_ids.shape[1], height / class_ids.shape[0]])

    groups: dict[int, list[int]] = {}
    for index in np.flatnonzero(kept).tolist():
        part = int(part_of[index])
        groups.setdefault(part if options.each == "part" else int(class_of[part]), []).append(index)
    annotations = []
    for members in groups.values():
        shapes = [_finished(polygons[index], options, scale) for index in members]
        own_parts = part_of[members]
        score = None if totals is None else float(totals[own_parts].sum() / areas[own_parts].sum())
        annotations.append(Annotation(int(class_of[own_parts[0]]), shapes, score))
    annotations.sort(key=lambda annotation: (-annotation.area, annotation.class_id, annotation.box))
    return AnnotatedPhoto(file_name, height, width, list(names), annotations, options)


def outlines(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons along the edges of pixels, which cover a map of the numbers of parts, and the number of each.

    Of part 0 there can be several.
    """
    height, width = parts.shape
    padded = np.full((height + 2, width + 2), -1, dtype=np.int64)
    padded[1:-1, 1:-1] = parts
    # Edges above each pixel and to its left, including those of the frame; at (y, x) a corner of pixels.
    above = padded[1:, 1:] != padded[:-1, 1:]
    left = padded[1:, 1:] != padded[1:, :-1]
    lines = [_straight_lines(above, left), _straight_lines(left.T, above.T)[:, :, ::-1]]
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(np.concatenate(lines).astype(float))))

    # The pixel beside the middle of the first pixel edge of each outline, on the inner side.
    rings = shapely.get_exterior_ring(faces)
    start = shapely.get_coordinates(shapely.get_point(rings, 0))
    step = np.sign(shapely.get_coordinates(shapely.get_point(rings, 1)) - start)
    inward = np.where(shapely.is_ccw(rings)[:, None], step[:, ::-1] * (-1, 1), step[:, ::-1] * (1, -1))
    column, row = np.floor(start + step / 2 + inward / 2).astype(np.int64).T
    return faces, parts[row, column]


def _straight_lines(edges: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Maximal straight lines of the edges that run along rows, ended where an edge across meets them.

    Of shape `(N, 2, 2)`: x and y of both ends.
    """
    met = across.copy()
    met[1:] |= across[:-1]
    goes_on = edges[:, 1:] & edges[:, :-1] & ~met[:, 1:]
    starts, ends = edges.copy(), edges.copy()
    starts[:, 1:] &= ~goes_on
    ends[:, :-1] &= ~goes_on
    row, first = np.nonzero(starts)
    last = np.nonzero(ends)[1]
    return np.stack([np.stack([first, row], axis=-1), np.stack([last + 1, row], axis=-1)], axis=1)


def _finished(polygon: shapely.Polygon, options: AnnotationOptions, scale: np.ndarray) -> shapely.Polygon:
    """A polygon without the holes that the options fill, at the size of the photo."""
    if polygon.interiors:
        large = [hole for hole in polygon.interiors if shapely.Polygon(hole).area >= options.min_area]
        polygon = shapely.Polygon(polygon.exterior, [] if options.fill_holes else large)
    return polygon if (scale == 1).all() else shapely.transform(polygon, lambda points: points * scale)
