# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Shapes of annotation files, painted on label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from catseg_hf.datasets.files import decode_mask


def load_coco_mask() -> ModuleType:
    """The module `pycocotools.mask`.

    Returns:
        `ModuleType`

    Raises:
        ImportError: If it is not installed; says how to install it.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ImportError('Polygons need pycocotools: `pip install "catseg-hf[annotate]"`.') from error
    return mask


@dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons as COCO and Label Studio have them: a pixel is inside where its centre is, at half past its number.

    Args:
        rings (`Sequence[np.ndarray]` of shapes `(N, 2)`): x and y of the corners in pixels; what any ring holds counts.
    """

    rings: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        load_coco_mask()  # so that its absence is told before anything else

    def paint(self, values: np.ndarray, value: int) -> None:
        """Paints it.

        Args:
            values (`np.ndarray` of shape `(height, width)`): The map, which is changed.
            value (`int`): What its pixels get.
        """
        coco_mask, points = load_coco_mask(), np.concatenate(self.rings)
        # Only the box is drawn, of which there can be thousands in a photo.
        left, top = np.floor(points.min(axis=0)).clip(0).astype(int).tolist()
        right, bottom = np.ceil(points.max(axis=0)).clip(0).astype(int).tolist()
        part = values[top:bottom, left:right]
        if part.size:
            flat = [(ring - (left, top)).ravel().tolist() for ring in self.rings]
            mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *part.shape)))
            part[mask.astype(bool)] = value


@dataclass(frozen=True, eq=False)
class RunLengths:
    """COCO's run lengths.

    Args:
        encoded (`dict`): `size`, and `counts` as a string or a list.
    """

    encoded: dict[str, Any]

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        values[decode_mask(*values.shape, self.encoded)] = value


@dataclass(frozen=True, eq=False)
class BoxRunLengths:
    """CVAT's mask: run lengths of a part of the image, row by row, first of pixels outside the mask.

    Args:
        counts (`Sequence[int]`): The run lengths.
        box (`tuple[int, int, int, int]`): Left, top, width and height of the part.
    """

    counts: Sequence[int]
    box: tuple[int, int, int, int]

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        width, height = self.box[2:]
        # Row by row is column by column of what is turned.
        mask = decode_mask(width, height, {"size": [width, height], "counts": self.counts}).T
        _paint_box(values, value, mask, self.box)


@dataclass(frozen=True, eq=False)
class BoxPicture:
    """LabelMe's mask: a picture of a part of the image.

    Args:
        content (`bytes`): The picture's file.
        box (`tuple[int, int, int, int]`): Left, top, width and height of the part.
    """

    content: bytes
    box: tuple[int, int, int, int]

    def mask(self) -> np.ndarray:
        """Where the mask is.

        Returns:
            `np.ndarray` of shape `(height, width)`: True or False for each pixel of the part.

        Raises:
            ValueError: If the picture is damaged, or of another size than the part.
        """
        try:
            with PIL.Image.open(BytesIO(self.content)) as picture:
                if picture.size != self.box[2:]:
                    raise ValueError(f"it has {picture.size} pixels for a part of {self.box[2:]}.")
                return np.asarray(picture.convert("L")) > 0
        except (OSError, SyntaxError) as error:
            raise ValueError(f"it is no picture: {error}") from error

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        _paint_box(values, value, self.mask(), self.box)


def _paint_box(values: np.ndarray, value: int, mask: np.ndarray, box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    # Brushes also paint beside the image.
    part = values[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if not part.size:
        raise ValueError(f"has a mask in the box {box}, outside of an image of {list(values.shape)} pixels.")
    rows, columns = max(-top, 0), max(-left, 0)
    part[mask[rows : rows + part.shape[0], columns : columns + part.shape[1]]] = value


@dataclass(frozen=True, eq=False)
class Brush:
    """Label Studio's brush: run lengths of the four channels of a picture, packed into bits.

    The format is that of https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack.

    Args:
        data (`bytes`): The packed bits.
        size (`tuple[int, int]`): Height and width.
    """

    data: bytes
    size: tuple[int, int]

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        if self.size != values.shape:
            raise ValueError(f"has a mask of size {list(self.size)} for an image of size {list(values.shape)}.")
        values[self.channels()[..., 3] > 127] = value

    def channels(self) -> np.ndarray:
        """The picture.

        Returns:
            `np.ndarray` of shape `(height, width, 4)`: uint8; the last channel is the mask.

        Raises:
            ValueError: If the data are damaged.
        """
        bits, place = f"{int.from_bytes(self.data, 'big'):0{len(self.data) * 8}b}", 0

        def read(number: int) -> int:
            nonlocal place
            place += number
            return int(bits[place - number : place], 2)

        try:
            total, word_bits = read(32), read(5) + 1
            length_bits = [read(4) + 1 for _ in range(4)]
            if total != 4 * self.size[0] * self.size[1]:
                raise ValueError(f"{total} values")
            pixels = np.zeros(total, dtype=np.uint8)
            start = 0
            while start < total:
                is_run = read(1)
                end = start + 1 + read(length_bits[read(2)])
                pixels[start:end] = read(word_bits) if is_run else [read(word_bits) for _ in range(end - start)]
                start = end
            return pixels.reshape(*self.size, 4)
        except ValueError as error:
            raise ValueError("has a damaged mask: its run lengths cannot be read.") from error


@dataclass(frozen=True, eq=False)
class DrawnPolygon:
    """A polygon as LabelMe draws it: through the pixels that its corners lie in, those of its outline included.

    Args:
        points (`np.ndarray` of shape `(N, 2)`): x and y of the corners in pixels.
    """

    points: np.ndarray

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        # Towards zero, as Pillow does.
        corners = self.points.astype(int)
        left, top = corners.min(axis=0).clip(0).tolist()
        right, bottom = (corners.max(axis=0) + 1).clip(0).tolist()
        part = values[top:bottom, left:right]
        if part.size:
            mask = PIL.Image.new("1", part.shape[::-1])
            PIL.ImageDraw.Draw(mask).polygon((corners - (left, top)).ravel().tolist(), fill=1, outline=1)
            part[np.asarray(mask)] = value


@dataclass(frozen=True, eq=False)
class PixelPolygon:
    """A polygon as YOLO's tools draw it: through the pixels of its rounded corners, those of its outline included.

    Args:
        points (`np.ndarray` of shape `(N, 2)`): x and y of the corners, from 0 to 1.
    """

    points: np.ndarray

    def paint(self, values: np.ndarray, value: int) -> None:
        """See [`Polygons.paint`]."""
        DrawnPolygon(np.round(self.points * values.shape[::-1])).paint(values, value)


Shape = Polygons | RunLengths | BoxRunLengths | BoxPicture | Brush | DrawnPolygon | PixelPolygon


__all__ = [
    "BoxPicture",
    "BoxRunLengths",
    "Brush",
    "DrawnPolygon",
    "PixelPolygon",
    "Polygons",
    "RunLengths",
    "Shape",
    "load_coco_mask",
]
