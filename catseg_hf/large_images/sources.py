# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where the pixels of a large image come from, and where on earth they lie."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from catseg_hf.pictures.photos import as_rgb


class Georeference(NamedTuple):
    """Where an image lies, as rasterio has it."""

    crs: Any  # its reference system, if it has one
    transform: Any  # from pixels to coordinates, if it has one
    control_points: tuple[list[Any], Any]  # with their own reference system; empty for most images


class ImageSource(Protocol):
    """What [`LargeImageSegmenter`] reads from."""

    height: int
    width: int
    georeference: Georeference | None

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of a window.

        Args:
            top, left, height, width (`int`): The window.

        Returns:
            `tuple[np.ndarray, np.ndarray | None]`: 8-bit RGB of shape `(height, width, 3)`, and which pixels hold data,
            `None` where all do.
        """

    def overview(self, longest_side: int) -> Image.Image:
        """The whole image, reduced where it is larger.

        Args:
            longest_side (`int`): Most pixels of the longer side.

        Returns:
            `PIL.Image.Image`: RGB.
        """


class PictureSource:
    """A picture in memory.

    Args:
        picture (`PIL.Image.Image`): Of any mode; transparent places are shown white. It is not turned by its EXIF
            orientation: `PIL.ImageOps.exif_transpose` does that.

    Example:

    ```python
    >>> from catseg_hf.large_images import PictureSource

    >>> source = PictureSource(image)
    >>> source.height, source.width
    (480, 640)
    ```
    """

    georeference = None

    def __init__(self, picture: Image.Image) -> None:
        is_plain = picture.mode == "RGB" and not picture.has_transparency_data
        self.picture = picture if is_plain else as_rgb(picture)  # not a second time in memory
        self.width, self.height = picture.size

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, None]:
        """See [`ImageSource.read`]."""
        return np.asarray(self.picture.crop((left, top, left + width, top + height))), None

    def close(self) -> None:
        """There is nothing to close."""

    def overview(self, longest_side: int) -> Image.Image:
        """See [`ImageSource.overview`]."""
        size = reduced_size(self.height, self.width, longest_side)
        return self.picture if size == self.picture.size else self.picture.resize(size, Image.Resampling.BOX)


def reduced_size(height: int, width: int, longest_side: int) -> tuple[int, int]:
    """Width and height, in Pillow's order, of an image whose longer side is reduced to this where it is longer."""
    factor = min(1.0, longest_side / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))
