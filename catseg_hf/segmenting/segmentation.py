# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A segmented photo: which class each pixel got, and how much of the photo each class."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from catseg_hf.prompts_catseg import Label


if TYPE_CHECKING:
    from supervision import Detections

    from catseg_hf.formats.options import AnnotationOptions
    from catseg_hf.formats.shapes import AnnotatedPhoto

# Id of pixels without a class.
NO_CLASS = -1


def label_name(label: Label) -> str:
    """What a class is called.

    Args:
        label (`str` or `list[str]`): The class.

    Returns:
        `str`: Its name; of synonyms all, joined by commas.

    Example:

    ```python
    >>> from catseg_hf.segmenting import label_name

    >>> label_name(["grass", "lawn"])
    'grass, lawn'
    ```
    """
    return label if isinstance(label, str) else ", ".join(label)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented photo; what a [`Segmenter`] returns. In a notebook it is shown as a picture.

    Args:
        name (`str`): Where the photo came from.
        picture (`PIL.Image.Image`): The photo.
        labels (`Sequence[str | list[str]]`): The classes, in class-id order.
        class_ids (`np.ndarray` of shape `(height, width)`): Best class of each pixel; -1 for none.
        scores (`np.ndarray` of shape `(height, width)`, *optional*): Its score, from 0 to 1.
        others (`Sequence[str | list[str]]`, *optional*): Classes that competed and are not reported.
        left_out (`Mapping[str, str]`, *optional*): Others that did not, and the label of each that means the same.

    Example:

    ```python
    >>> from catseg_hf import TINY, Segmenter
    >>> from catseg_hf.scenes import draw_scene

    >>> result = Segmenter.from_pretrained(TINY, labels=["something red", "ground"], device="cpu")(draw_scene(7).image)
    >>> result.names, result.class_ids.shape
    (['something red', 'ground'], (256, 256))
    >>> result.mask("something red").size
    (256, 256)
    ```
    """

    name: str
    picture: Image.Image
    labels: Sequence[Label]
    class_ids: np.ndarray
    scores: np.ndarray | None = None
    others: Sequence[Label] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

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
                "share": round(float(areas[index]) / (height * width), 6),
                "box": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
            }
            if self.scores is not None:
                segment["score"] = round(float(totals[index] / areas[index]), 6)
            segments.append(segment)
        return segments

    def mask(self, label: str | int) -> Image.Image:
        """Where a class is.

        Args:
            label (`str` or `int`): Its name, or the number of its label, from 0.

        Returns:
            `PIL.Image.Image`: Of mode "L" and the size of the photo: 255 where the class is, 0 elsewhere.

        Raises:
            ValueError: If there is no such class; says which there are.
        """
        names = self.names
        if label not in (names if isinstance(label, str) else range(len(names))):
            raise ValueError(f"There is no class {label!r}: the labels are {', '.join(map(repr, names))}.")
        class_id = names.index(label) if isinstance(label, str) else label
        return Image.fromarray((self.class_ids == class_id).astype(np.uint8) * 255)

    def overlay(self, **options: Any) -> Image.Image:
        """The photo with its classes in colours, and a legend.

        Args:
            options: Further arguments of [`catseg_hf.pictures.overlay`], such as `opacity` or `legend`.

        Returns:
            `PIL.Image.Image`
        """
        from catseg_hf.pictures import overlay

        return overlay(self.picture, self.class_ids, self.labels, background_id=NO_CLASS, **options)

    def contours(self, **options: Any) -> Image.Image:
        """The photo with the outlines of its classes, and a legend.

        Args:
            options: Further arguments of [`catseg_hf.pictures.contours`], such as `legend`.

        Returns:
            `PIL.Image.Image`
        """
        from catseg_hf.pictures import contours

        return contours(self.picture, self.class_ids, self.labels, background_id=NO_CLASS, **options)

    def _repr_png_(self) -> bytes:
        """The overlay, which a notebook shows."""
        file = BytesIO()
        self.overlay().save(file, format="PNG")
        return file.getvalue()

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
        """COCO's `images`, `annotations` and `categories`, made as `options` say; see `annotate`."""
        from catseg_hf.formats.coco import to_coco

        return to_coco(self.annotate(options))

    def to_yolo(self, options: "AnnotationOptions | None" = None) -> str:
        """The text file of YOLO's segmentation format, made as `options` say; see `annotate`."""
        from catseg_hf.formats.yolo import to_yolo

        return to_yolo(self.annotate(options))

    def to_label_studio(self, image: str, options: "AnnotationOptions | None" = None) -> list[dict[str, Any]]:
        """Label Studio's task with a prediction, for the photo at the URL `image`; see `annotate` for `options`."""
        from catseg_hf.formats.label_studio import to_label_studio

        return to_label_studio(self.annotate(options), image)

    def to_cvat(self, options: "AnnotationOptions | None" = None) -> str:
        """The file of CVAT's XML 1.1 for images, made as `options` say; see `annotate`."""
        from catseg_hf.formats.cvat import to_cvat

        return to_cvat(self.annotate(options))

    def to_labelme(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """The file of LabelMe, made as `options` say; see `annotate`."""
        from catseg_hf.formats.labelme import to_labelme

        return to_labelme(self.annotate(options))

    def to_geojson(self, options: "AnnotationOptions | None" = None) -> dict[str, Any]:
        """GeoJSON's `FeatureCollection` in pixels, made as `options` say; see `annotate`."""
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

    def save(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        options: "AnnotationOptions | None" = None,
    ) -> None:
        """Writes the photo in any of the formats of `catseg segment`, whole or not at all.

        Args:
            path (`str` or `os.PathLike`): The file, or, of `masks` and `yolo`, the folder. What is there is replaced.
            format (`str`, *optional*): Name of the format; by default what the ending of the path says.
            options ([`AnnotationOptions`], *optional*): How annotations are made.

        Raises:
            ValueError: If the ending does not say the format, or the format cannot be written there or so.
            OSError: If it cannot be written; then nothing is left behind.
            ImportError: If libraries for annotations are not installed.

        Example:

        ```python
        >>> from catseg_hf import TINY, Segmenter

        >>> result = Segmenter.from_pretrained(TINY, "something red, ground", device="cpu")("photo.jpg")
        >>> result.save("overlay.jpg")
        >>> result.save("annotations.json", format="coco")
        ```
        """
        from catseg_hf.formats import ResultFiles, find_format, format_of

        output = Path(path)
        chosen = format_of(os.fspath(path)) if format is None else find_format(format)
        if chosen.is_data_set:
            raise ValueError(f"`format={format!r}` is of any number of photos: `catseg segment` writes it.")
        chosen.check_output(output)
        if chosen.needs_scores and self.scores is None:
            raise ValueError(
                f"The format {chosen.name} says how sure the model is, and this segmentation has no scores."
            )
        stem = Path(PurePath(self.name).stem or "photo")
        ResultFiles([chosen], options).write(self, {chosen: chosen.single_target(output, stem)})
