# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Annotations made of segmentations, in the formats of annotation tools: COCO, YOLO, Label Studio, CVAT, GeoJSON."""

try:
    import pycocotools  # noqa: F401
    import shapely  # noqa: F401
    import skimage  # noqa: F401
except ImportError as error:
    raise ImportError('Annotations need further libraries: `pip install "catseg-hf[annotate]"`.') from error

from .coco import merge_coco, to_coco
from .cvat import merge_cvat, to_cvat
from .geojson import to_geojson
from .label_studio import label_studio_config, merge_label_studio, to_label_studio
from .options import FORMATS, AnnotationOptions
from .shapes import AnnotatedPhoto, Annotation, annotate
from .yolo import to_yolo, yolo_data


__all__ = [
    "FORMATS",
    "AnnotatedPhoto",
    "Annotation",
    "AnnotationOptions",
    "annotate",
    "label_studio_config",
    "merge_coco",
    "merge_cvat",
    "merge_label_studio",
    "to_coco",
    "to_cvat",
    "to_geojson",
    "to_label_studio",
    "to_yolo",
    "yolo_data",
]
