# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""GeoJSON (RFC 7946): in pixels of a photo, and in the reference system of a large image."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import AddRows, AnnotationFormat, LargeImageOutput, json_line
from .label_map import LargeLabelMap


if TYPE_CHECKING:
    from .shapes import AnnotatedPhoto


class LargeGeoJson(LargeImageOutput):
    """The outlines of the parts of a large image."""

    name = "geojson"
    ending = ".geojson"
    default_output = "segmentation.geojson"
    needs_rasterio = True

    @contextmanager
    def open(self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str) -> Iterator[AddRows]:
        """See [`LargeImageOutput.open`]; outlines are made of a label map, which is a temporary file."""
        from catseg_hf.large_images import write_geojson

        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
            label_map = Path(folder, "labels.tif")
            with LargeLabelMap().open(label_map, source, labels, image_name) as add_rows:
                yield add_rows
            write_geojson(label_map, path, image_name)


class GeoJson(AnnotationFormat):
    """GeoJSON."""

    name = "geojson"
    title = "GeoJSON"
    help = "outlines in pixels, a file for each photo"
    ending = ".geojson"
    default_output = "segmentation.geojson"
    needs_scores = True
    holds = frozenset({("polygons", "part"), ("polygons", "class")})
    records_classes = False
    large_image = LargeGeoJson()

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return json_line(to_geojson(photo))


def to_geojson(photo: "AnnotatedPhoto") -> dict[str, Any]:
    """A `FeatureCollection` with a polygon for each part, with its holes, or a multipolygon for each class.

    x runs to the right and y down, in pixels.
    """
    import shapely

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
