# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A segmented photo: which class each pixel got, and how much of the photo each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from catseg_hf.prompts_catseg import Label


if TYPE_CHECKING:
    from catseg_hf.annotations import AnnotatedPhoto, AnnotationOptions

# Id of pixels without a class.
NO_CLASS = -1


def label_name(label: Label) -> str:
    """What a class is called.

    Args:
        label (`str` or `list[str]`): The class.

    Returns:
        `str`: Its name; of synonyms all, joined by commas.
    """
    return label if isinstance(label, str) else ", ".join(label)


@dataclass(frozen=True)
class Segmentation:
    """A segmented photo.

    Args:
        name (`str`): Where the photo came from.
        picture (`PIL.Image.Image`): The photo.
        labels (`Sequence[str | list[str]]`): The classes, in class-id order.
        class_ids (`np.ndarray` of shape `(height, width)`): Best class of each pixel; -1 for none.
        scores (`np.ndarray` of shape `(height, width)`, *optional*): Its score, from 0 to 1.
    """

    name: str
    picture: Image.Image
    labels: Sequence[Label]
    class_ids: np.ndarray
    scores: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        """What the classes are called."""
        return [label_name(label) for label in self.labels]

    def areas(self) -> np.ndarray:
        """Number of pixels of each class, int64 of shape `(T,)`."""
        return np.bincount(self.class_ids.ravel() + 1, minlength=len(self.labels) + 1)[1:]

    def segments(self) -> list[dict[str, Any]]:
        """The classes that are in the photo, in class-id order.

        Returns:
            `list[dict]`: Of each `id`, `label`, `area` in pixels, `share` of the photo (0 to 1), `box` (left, top,
            right, bottom in pixels; right and bottom are the first column and row outside) and, where there are
            `scores`, `score`, their mean over the class.
        """
        height, width = self.class_ids.shape
        areas = self.areas()
        # Column T is that of pixels without a class, which -1 points to.
        in_row = np.zeros((height, len(self.labels) + 1), dtype=bool)
        in_row[np.arange(height)[:, None], self.class_ids] = True
        in_column = np.zeros((width, len(self.labels) + 1), dtype=bool)
        in_column[np.arange(width)[None], self.class_ids] = True
        if self.scores is not None:
            totals = np.bincount(self.class_ids.ravel() + 1, self.scores.ravel(), len(self.labels) + 1)[1:]
        segments, names = [], self.names
        for index in np.flatnonzero(areas).tolist():
            rows, columns = np.flatnonzero(in_row[:, index]), np.flatnonzero(in_column[:, index])
            segment = {
                "id": index,
                "label": names[index],
                "area": int(areas[index]),
                "share": round(areas[index] / (height * width), 6),
                "box": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
            }
            if self.scores is not None:
                segment["score"] = round(float(totals[index] / areas[index]), 6)
            segments.append(segment)
        return segments

    def annotate(self, options: "AnnotationOptions | None" = None, file_name: str | None = None) -> "AnnotatedPhoto":
        """Outlines of the connected parts, or of the classes, for annotation tools.

        Args:
            options ([`AnnotationOptions`], *optional*): How they are made.
            file_name (`str`, *optional*): Path of the photo for the tools; by default the last part of `name`.

        Returns:
            [`AnnotatedPhoto`]: For the functions of `catseg_hf.annotations`.

        Raises:
            ImportError: If the libraries for it are not installed.
        """
        from catseg_hf.annotations import annotate

        file_name = PurePath(self.name).name if file_name is None else file_name
        return annotate(file_name, self.class_ids, self.names, self.scores, options)

    def to_coco(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """COCO's format; see [`to_coco`] of `catseg_hf.annotations`.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `dict`: `images`, `annotations` and `categories`.
        """
        from catseg_hf.annotations import to_coco

        return to_coco(self.annotate(options))

    def to_yolo(self, options: "AnnotationOptions | None" = None) -> str:
        """YOLO's segmentation format; see [`to_yolo`] of `catseg_hf.annotations`.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `str`: The text file of the photo.
        """
        from catseg_hf.annotations import to_yolo

        return to_yolo(self.annotate(options))

    def to_label_studio(self, image: str, options: "AnnotationOptions | None" = None) -> list[dict[str, Any]]:
        """A task of Label Studio; see [`to_label_studio`] of `catseg_hf.annotations`.

        Args:
            image (`str`): URL of the photo.
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `list[dict]`: The task with a prediction.
        """
        from catseg_hf.annotations import to_label_studio

        return to_label_studio(self.annotate(options), image)

    def to_cvat(self, options: "AnnotationOptions | None" = None) -> str:
        """CVAT's XML 1.1 for images; see [`to_cvat`] of `catseg_hf.annotations`.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `str`: The file of the photo.
        """
        from catseg_hf.annotations import to_cvat

        return to_cvat(self.annotate(options))

    def to_geojson(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """GeoJSON in pixels; see [`to_geojson`] of `catseg_hf.annotations`.

        Args:
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Returns:
            `dict`: A `FeatureCollection`.
        """
        from catseg_hf.annotations import to_geojson

        return to_geojson(self.annotate(options))


__all__ = ["NO_CLASS", "Segmentation", "label_name"]
