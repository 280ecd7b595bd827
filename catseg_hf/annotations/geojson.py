# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""GeoJSON (RFC 7946) in pixels of the photo."""

from typing import Any

import shapely

from .shapes import AnnotatedPhoto


def to_geojson(photo: AnnotatedPhoto) -> dict[str, Any]:
    """The annotations of a photo as GeoJSON.

    Args:
        photo ([`AnnotatedPhoto`]): The photo.

    Returns:
        `dict`: A `FeatureCollection` with a polygon for each part, with its holes, or a multipolygon for each class. x
        runs to the right and y down, in pixels. Properties are `image`, `class_id`, `label`, `area` and, where
        there are scores, `score`.
    """
    features = []
    for annotation in photo.annotations:
        shape = annotation.polygons[0] if photo.options.each == "part" else shapely.MultiPolygon(annotation.polygons)
        properties = {
            "image": photo.file_name,
            "class_id": annotation.class_id,
            "label": photo.names[annotation.class_id],
            "area": round(annotation.area, 2),
        }
        if annotation.score is not None:
            properties["score"] = round(annotation.score, 6)
        # RFC 7946: outlines counterclockwise, holes clockwise.
        geometry = shapely.geometry.mapping(shapely.orient_polygons(shape))
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return {"type": "FeatureCollection", "features": features}


__all__ = ["to_geojson"]
