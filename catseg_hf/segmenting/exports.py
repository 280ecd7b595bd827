# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A segmented photo for annotation tools, and for other libraries."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    from supervision import Detections

    from catseg_hf.formats.options import AnnotationOptions
    from catseg_hf.formats.shapes import AnnotatedPhoto


class AnnotationExports:
    """What annotation tools take of a [`Segmentation`]."""

    name: str
    class_ids: np.ndarray
    scores: np.ndarray | None

    @property
    def names(self) -> Sequence[str]:
        """What the classes are called."""
        raise NotImplementedError

    def annotate(self, options: "AnnotationOptions | None" = None, file_name: str | None = None) -> "AnnotatedPhoto":
        """Outlines of the connected parts, or of the classes, for annotation tools.

        Args:
            options ([`AnnotationOptions`], *optional*): How they are made.
            file_name (`str`, *optional*): Path of the photo for the tools; by default the last part of `name`.

        Returns:
            [`AnnotatedPhoto`]: With `annotations`, which have `polygons` of shapely, `area`, `box` and `score`.

        Raises:
            ImportError: If the libraries for it are not installed.
        """
        from catseg_hf.formats.shapes import annotate

        file_name = PurePath(self.name).name if file_name is None else file_name
        return annotate(file_name, self.class_ids, self.names, self.scores, options)

    def to_coco(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """COCO's format.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `dict`: `images`, `annotations` and `categories`.
        """
        from catseg_hf.formats.coco import to_coco

        return to_coco(self.annotate(options))

    def to_yolo(self, options: "AnnotationOptions | None" = None) -> str:
        """YOLO's segmentation format.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `str`: The text file of the photo.
        """
        from catseg_hf.formats.yolo import to_yolo

        return to_yolo(self.annotate(options))

    def to_label_studio(self, image: str, options: "AnnotationOptions | None" = None) -> list[dict[str, Any]]:
        """A task of Label Studio.

        Args:
            image (`str`): URL of the photo.
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `list[dict]`: The task with a prediction.
        """
        from catseg_hf.formats.label_studio import to_label_studio

        return to_label_studio(self.annotate(options), image)

    def to_cvat(self, options: "AnnotationOptions | None" = None) -> str:
        """CVAT's XML 1.1 for images.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `str`: The file of the photo.
        """
        from catseg_hf.formats.cvat import to_cvat

        return to_cvat(self.annotate(options))

    def to_labelme(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """LabelMe's format.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `dict`: The file of the photo.
        """
        from catseg_hf.formats.labelme import to_labelme

        return to_labelme(self.annotate(options))

    def to_geojson(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """GeoJSON in pixels.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `dict`: A `FeatureCollection`.
        """
        from catseg_hf.formats.geojson import to_geojson

        return to_geojson(self.annotate(options))

    def to_detections(self, options: "AnnotationOptions | None" = None) -> "Detections":
        """Detections of the library supervision.

        Args:
            options ([`AnnotationOptions`], *optional*): How parts are made.

        Returns:
            `supervision.Detections`: One for each connected part or each class, the largest first, with masks, boxes,
            class ids, names (`data["class_name"]`) and, where there are `scores`, confidences.

        Raises:
            ImportError: If supervision, or a library for annotations, is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("Detections need supervision: `pip install supervision`.") from error
        height, width = self.class_ids.shape
        found = self.annotate(options).annotations
        if not found:
            return supervision.Detections.empty()
        return supervision.Detections(
            xyxy=np.array([each.box for each in found], dtype=np.float32),
            mask=np.stack([each.mask(height, width) for each in found]),
            confidence=None if self.scores is None else np.array([each.score for each in found], dtype=np.float32),
            class_id=np.array([each.class_id for each in found]),
            data={"class_name": np.array([self.names[each.class_id] for each in found])},
        )


__all__ = ["AnnotationExports"]
