# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Images of any size at their own resolution: read, segmented and written in pieces.

Windows go over the image, and each is segmented as a photo of its own. Where they overlap, the class scores are blended
with weights that fall to zero towards the borders, so that no seams are seen.
"""

from .label_maps import LabelMapWriter, write_geojson
from .rasters import RasterSource
from .segmenter import LargeImageSegmenter, Strip
from .sources import Georeference, ImageSource, PictureSource


__all__ = [
    "Georeference",
    "ImageSource",
    "LabelMapWriter",
    "LargeImageSegmenter",
    "PictureSource",
    "RasterSource",
    "Strip",
    "write_geojson",
]
