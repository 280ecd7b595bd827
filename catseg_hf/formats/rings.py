# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Polygons with holes as single rings, for formats that know no holes."""

import numpy as np
import shapely


# Of the width of a pixel that an outline moves inwards, less than half of one: then nothing vanishes or falls apart.
INWARDS = 0.4


def single_ring(polygon: shapely.Polygon) -> np.ndarray:
    """The outline of a polygon with its holes joined to it by horizontal cuts, each passed in both directions.

    Whether the ring is filled by the even-odd or the nonzero rule, the result is the polygon: outline and holes turn
    in opposite directions, and the two passes of a cut cancel out. It is of shape `(N, 2)`: x and y of the corners, the
    last of which is not the first again.
    """
    if not polygon.interiors:
        return _corners(polygon.exterior)
    outer = _corners(polygon.exterior, counterclockwise=True)
    holes = [_corners(hole, counterclockwise=False) for hole in polygon.interiors]
    # From left to right: what the cut to the left meets first is the outline, or a hole that is joined to it already.
    for hole in sorted(holes, key=lambda points: points[:, 0].min()):
        first = int(hole[:, 0].argmin())
        place, meeting = _left_of(outer, hole[first])
        cut = np.concatenate([meeting[None], hole[first:], hole[: first + 1], meeting[None]])
        outer = np.concatenate([outer[: place + 1], cut, outer[place + 1 :]])
    return outer


def _corners(ring: shapely.LinearRing, counterclockwise: bool | None = None) -> np.ndarray:
    """Without the last, which is the first again; in that direction, or as they are."""
    points = shapely.get_coordinates(ring)[:-1]
    return points if counterclockwise in (None, ring.is_ccw) else points[::-1]


def _left_of(ring: np.ndarray, point: np.ndarray) -> tuple[int, np.ndarray]:
    """The first edge that a ray from a point to the left meets, and where."""
    (x, y), following = point, np.roll(ring, -1, axis=0)
    # An end of an edge belongs to it only if it is the upper one, so that a ray through a corner meets one of two.
    crosses = np.flatnonzero((ring[:, 1] <= y) != (following[:, 1] <= y))
    start, end = ring[crosses], following[crosses]
    meets = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    best = int(np.where(meets <= x + 1e-9, meets, -np.inf).argmax())
    return int(crosses[best]), np.array([min(meets[best], x), y])


def border_pixels(polygon: shapely.Polygon, size: np.ndarray) -> np.ndarray:
    """The pixels that the corners of an outline lie in, for tools that draw the pixels of an outline too.

    Whole numbers, of shape `(N, 2)` with at least three corners; `size` is width and height of the photo.
    """
    inner = polygon.buffer(-INWARDS, join_style="mitre", mitre_limit=2)
    # What was simplified can be thinner than a pixel.
    ring = single_ring(inner if isinstance(inner, shapely.Polygon) and not inner.is_empty else polygon)
    pixels = np.floor(ring).clip(0, size - 1)
    is_new = np.any(pixels != np.roll(pixels, 1, axis=0), axis=1)
    pixels = pixels[is_new] if is_new.any() else pixels[:1]
    return pixels if len(pixels) >= 3 else np.resize(pixels, (3 if len(pixels) == 1 else 4, 2))
