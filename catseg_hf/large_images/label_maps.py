# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label maps of any size as TIFF or GeoTIFF, written in pieces, and their outlines as GeoJSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from catseg_hf.pictures import label_colors

from .rasters import load_rasterio, opened
from .sources import Georeference


# Side of the blocks of the files, in pixels.
BLOCK = 512


class LabelMapWriter:
    """Writes a label map from top to bottom. Use it in a `with` block.

    The file is a tiled, compressed TIFF (BigTIFF where it must be) of class numbers, 8 bits with 255 for no class or,
    for more than 255 classes, 16 bits with 65535; that value is its `nodata`. It has the colours of the classes as its
    colour table, their names as a JSON list in its tag `labels`, and the georeference of the image.

    Args:
        path (`Path`): The file.
        height, width (`int`): Of the label map.
        labels (`Sequence[str | Sequence[str]]`): The classes, in class-id order; of a class with synonyms their list.
        georeference ([`Georeference`], *optional*): Of the image.

    Raises:
        ImportError: If rasterio is missing.
        OSError: If the file cannot be written.

    Example:

    ```python
    >>> from pathlib import Path

    >>> from catseg_hf.large_images import LabelMapWriter, write_geojson

    >>> with LabelMapWriter(Path("labels.tif"), 100, 80, ["road", "grass"]) as writer:
    ...     writer.write(np.zeros((100, 80), dtype=int))
    >>> write_geojson(Path("labels.tif"), Path("outlines.geojson"), "photo.tif")
    ```
    """

    def __init__(
        self,
        path: Path,
        height: int,
        width: int,
        labels: Sequence[str | Sequence[str]],
        georeference: Georeference | None = None,
    ) -> None:
        self._window = load_rasterio().windows.Window
        self.dtype = np.dtype(np.uint8 if len(labels) <= 255 else np.uint16)
        self.no_class = int(np.iinfo(self.dtype).max)
        options = {"driver": "GTiff", "count": 1, "dtype": self.dtype, "nodata": self.no_class, "compress": "deflate"}
        options |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "IF_SAFER"}
        if georeference is not None:
            options |= {"crs": georeference.crs, "transform": georeference.transform}
        self._opened = ExitStack()
        self._file = self._opened.enter_context(opened(path, "w", height=height, width=width, **options))
        if georeference is not None and georeference.control_points[0]:
            self._file.gcps = georeference.control_points
        colors = {index: (*color, 255) for index, color in enumerate(label_colors(labels).tolist())}
        self._file.write_colormap(1, {**colors, self.no_class: (0, 0, 0, 0)})
        names = [label if isinstance(label, str) else ", ".join(label) for label in labels]
        self._file.update_tags(labels=json.dumps(names, ensure_ascii=False))
        # Rows that wait until they fill blocks, so that no block is compressed twice.
        self._waiting = np.empty((0, width), dtype=self.dtype)
        self._top = 0

    def __enter__(self) -> "LabelMapWriter":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._flush(len(self._waiting))
        finally:
            self._opened.close()

    def write(self, class_ids: np.ndarray) -> None:
        """Writes the next rows.

        Args:
            class_ids (`np.ndarray` of shape `(rows, width)`): Class numbers; -1 for none.
        """
        ids = np.where(class_ids < 0, self.no_class, class_ids).astype(self.dtype)
        self._waiting = np.concatenate([self._waiting, ids])
        self._flush(len(self._waiting) // BLOCK * BLOCK)

    def _flush(self, number: int) -> None:
        if number:
            rows, self._waiting = self._waiting[:number], self._waiting[number:]
            self._file.write(rows, 1, window=self._window(0, self._top, rows.shape[1], number))
            self._top += number


def write_geojson(label_map: Path, path: Path, image: str) -> None:
    """Writes the outlines of a label map as GeoJSON, in the reference system of the file.

    There is a feature for each connected part, with its holes and the properties `image`, `class_id`, `label` and
    `area`, in pixels. The reference system stands in the member `crs`, which QGIS and GDAL read; a label map without a
    georeference gives pixels, x to the right and y down, and no `crs`.

    Args:
        label_map (`Path`): A file of [`LabelMapWriter`].
        path (`Path`): The file to write.
        image (`str`): What the image is called.

    Raises:
        ImportError: If rasterio is missing.
        ValueError: If the image is placed by control points only, so that its pixels have no coordinates.
    """
    rasterio = load_rasterio()
    with opened(label_map) as file, open(path, "w", encoding="utf-8") as output:
        if file.gcps[0]:
            raise ValueError(
                "It is placed by ground control points, so that its pixels have no coordinates for GeoJSON: "
                "rectify it first, with `rio warp` or `gdalwarp`."
            )
        system = "" if file.crs is None else f'"crs": {json.dumps(_named_system(file.crs))}, '
        output.write(f'{{"type": "FeatureCollection", {system}"features": [')
        # One by one: there may be millions of them.
        for number, feature in enumerate(_features(rasterio, file, image)):
            output.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False))
        output.write("\n]}\n")


def _named_system(crs: Any) -> dict[str, Any]:
    authority = crs.to_authority()
    name = crs.to_wkt() if authority is None else "urn:ogc:def:crs:{}::{}".format(*authority)
    if authority == ("EPSG", "4326"):
        name = "urn:ogc:def:crs:OGC:1.3:CRS84"  # the same with longitude before latitude, as the coordinates are
    return {"type": "name", "properties": {"name": name}}


def _features(rasterio: Any, file: Any, image: str) -> Iterator[dict[str, Any]]:
    names = json.loads(file.tags()["labels"])
    pixel_area = abs(file.transform.determinant)
    for geometry, value in rasterio.features.shapes(rasterio.band(file, 1), transform=file.transform):
        class_id = int(value)
        if class_id == file.nodata:
            continue
        areas = [_signed_area(ring) for ring in geometry["coordinates"]]
        # RFC 7946: outlines counterclockwise, holes clockwise.
        rings = [
            ring if (area > 0) == (index == 0) else ring[::-1]
            for index, (ring, area) in enumerate(zip(geometry["coordinates"], areas, strict=True))
        ]
        area = round((abs(areas[0]) - sum(map(abs, areas[1:]))) / pixel_area)
        properties = {"image": image, "class_id": class_id, "label": names[class_id], "area": area}
        yield {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": rings}}


def _signed_area(ring: list[tuple[float, float]]) -> float:
    """The area within a closed ring; negative if it runs clockwise with y upwards."""
    x, y = (np.array(ring) - ring[0]).T  # near zero, where differences of large coordinates are exact
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
