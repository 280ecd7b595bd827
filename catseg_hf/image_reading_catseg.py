# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Any image that users have, as 8-bit RGB; any segmentation map, as class ids."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from transformers.image_utils import ChannelDimension, load_image


# The largest image that Pillow itself opens without suspecting a decompression bomb.
MAX_PIXELS = 178_956_970
# Of HEIC, and of what may be it; AVIF, which Pillow reads, may begin like the latter.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")


class TooManyPixelsError(ValueError):
    """An image has more pixels than are trusted."""


@contextmanager
def damage_named() -> Iterator[None]:
    """Makes an `OSError` of what decoders raise on damaged files, which are errors of all kinds."""
    try:
        yield
    except (OSError, ValueError, MemoryError, ImportError, PIL.Image.DecompressionBombError):
        raise
    except Exception as error:
        raise OSError(f"the image is damaged: {error or type(error).__name__}") from error


def open_picture(file: str | os.PathLike[str] | BinaryIO) -> PIL.Image.Image:
    """Opens a picture as `PIL.Image.open` does, and HEIC, too; pixels are decoded when they are asked for.

    Args:
        file (`str`, `os.PathLike` or `BinaryIO`): A path, or a file that can be searched, at its beginning.

    Returns:
        `PIL.Image.Image`: The picture.

    Raises:
        OSError: If it cannot be read.
        ImportError: If it is HEIC, and pillow-heif is missing.
        DecompressionBombError: If it has more pixels than Pillow opens.
    """
    if not _is_heic(file):
        return PIL.Image.open(file)
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else "it"
        raise ImportError(f'{name} is HEIC, which needs pillow-heif: `pip install "catseg-hf[heif]"`.') from error
    try:
        picture = HeifImageFile(file)  # without an opener that all other code would get, too
        picture.info.pop("depth_images", None)  # of portraits: they hold what no process can send to another
    except SyntaxError as error:
        raise OSError(f"the HEIC image is damaged: {error}") from error
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > 2 * limit:
        raise PIL.Image.DecompressionBombError(f"the HEIC image has more than {2 * limit:,} pixels.")
    return picture


def _is_heic(file: str | os.PathLike[str] | BinaryIO) -> bool:
    """Whether the first bytes are those of HEIC, whatever the name is."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return _is_heic(opened)
    head = file.read(256)
    file.seek(0)
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, min(size, len(head)), 4))]
    return head[4:8] == b"ftyp" and brands[0] in HEIC_BRANDS and not set(brands).intersection(AVIF_BRANDS)


def open_image(source: str, max_pixels: int) -> PIL.Image.Image:
    """An image from a path, a URL or base64 text; of a file, its size is checked before it is decoded.

    Args:
        source (`str`): Where it is.
        max_pixels (`int`): Largest number of pixels.

    Returns:
        `PIL.Image.Image`: The image.

    Raises:
        OSError: If it cannot be read.
        ImportError: If it is HEIC, and pillow-heif is missing.
        ValueError: If it is empty or has more pixels.
    """
    if not os.path.isfile(source):
        return load_image(source)  # a URL or base64 text
    with damage_named():
        image = open_picture(source)
    check_pixels(image.height, image.width, max_pixels)
    return image


def orientation_of(image: PIL.Image.Image) -> int:
    """How an image is stored, by its EXIF data, from 1 to 8; 1, which is upright, if these cannot be read."""
    try:
        return image.getexif().get(PIL.ExifTags.Base.Orientation, 1)
    except SyntaxError:
        return 1


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuses images without pixels, or with more than are trusted."""
    if height < 1 or width < 1:
        raise ValueError(f"`images` holds an empty image of {height} x {width} pixels: leave it out.")
    if height * width > max_pixels:
        raise TooManyPixelsError(
            f"`images` holds an image of {height} x {width} = {height * width} pixels, but `max_pixels={max_pixels}`: "
            "make the image smaller, or raise `max_pixels` if you trust it."
        )


def flatten_images(images: Any, dimensions: int, argument: str) -> list[Any]:
    """A flat list of single images, from one image, a list, a list of lists or an array with a batch dimension."""
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError(f"`{argument}` is empty: give at least one image.")
        return [image for entry in images for image in flatten_images(entry, dimensions, argument)]
    if isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim == dimensions + 1:
            return list(images)
        if not 2 <= images.ndim <= dimensions:
            raise ValueError(
                f"`{argument}` holds an array of shape {tuple(images.shape)}: an array must have 2 to {dimensions} "
                f"dimensions, or {dimensions + 1} for a batch."
            )
        return [images]
    if isinstance(images, PIL.Image.Image | str):
        return [images]
    raise TypeError(
        f"`{argument}` must be a PIL image, a NumPy array, a torch tensor, a path, a URL, or a list of these, got "
        f"{type(images).__name__}."
    )


def _channels_last(array: np.ndarray, data_format: str | ChannelDimension | None) -> np.ndarray:
    """(height, width, channels) of an array of two or three dimensions."""
    if array.ndim == 2:
        return array[:, :, None]
    if data_format is None:
        known = (1, 3, 4)
        first, last = array.shape[0] in known, array.shape[2] in known
        if first and last and (array.shape[0] == 3) != (array.shape[2] == 3):
            first, last = array.shape[0] == 3, array.shape[2] == 3  # colour is likelier than a single row or column
        if first == last:
            raise ValueError(
                f"`images` holds an array of shape {array.shape}, which has "
                + ("two dimensions" if first else "no dimension")
                + " that can be the channels (1, 3 or 4): "
                + ('give `input_data_format="channels_first"` or `"channels_last"`.' if first else "convert it to RGB.")
            )
    else:
        first = ChannelDimension(data_format) == ChannelDimension.FIRST
    array = np.moveaxis(array, 0, -1) if first else array
    if array.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"`images` holds an array with {array.shape[2]} channels: allowed are 1 (gray), 3 (RGB) and 4 (RGBA)."
        )
    return array


def read_image(
    image: Any, data_format: str | ChannelDimension | None, do_convert_rgb: bool, max_pixels: int
) -> tuple[np.ndarray, bool]:
    """One image as 8-bit RGB.

    Args:
        image (`PIL.Image.Image`, `np.ndarray` or `torch.Tensor`): Gray, RGB or RGBA; a PIL image of any mode. Integers
            are 0 to 255, or 0 to 65535 if their type is uint16 or one of them exceeds 255. Floating point numbers are
            0 to 1, or 0 to 255 if one of them exceeds 1.
        data_format (`str` or `ChannelDimension`, *optional*): Where the channels of an array are.
        do_convert_rgb (`bool`): Whether gray and transparent images are converted, the latter on white.
        max_pixels (`int`): Largest number of pixels.

    Returns:
        `tuple[np.ndarray, bool]`: uint8 of shape (height, width, 3), and whether the values were given as 0 to 1.

    Raises:
        OSError: If its file is damaged.
        ValueError: If it has no pixels, more than `max_pixels`, or values or a mode that are not of a photo.
        TypeError: If its values are no real numbers.
    """
    if isinstance(image, PIL.Image.Image):
        check_pixels(image.height, image.width, max_pixels)
        with damage_named():
            image.load()
        # Upright RGB is taken as it is: Pillow would copy it twice, which takes a third as long as a resize.
        if orientation_of(image) != 1:
            image = PIL.ImageOps.exif_transpose(image)
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
            transparent = image.getbands()[-1] in ("A", "a") or "transparency" in image.info
            mode = "RGBA" if transparent else "RGB"
            try:
                image = image if image.mode == mode else image.convert(mode)
            except ValueError as error:
                raise ValueError(
                    f"`images` holds a PIL image of mode {image.mode!r}, which Pillow cannot convert to RGB: convert "
                    "it before."
                ) from error
        array, data_format = np.asarray(image), ChannelDimension.LAST
    else:
        if isinstance(image, torch.Tensor):
            image = image.detach().cpu()
            image = image.float() if image.dtype == torch.bfloat16 else image
        array = np.asarray(image)
    array = _channels_last(array, data_format)
    check_pixels(*array.shape[:2], max_pixels)
    array, from_unit_range = _to_uint8(array)
    if array.shape[2] != 3 and not do_convert_rgb:
        raise ValueError(
            f"`images` holds an image with {array.shape[2]} channels, and `do_convert_rgb=False`: the model needs 3."
        )
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    elif array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255
        array = np.rint(array[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array), from_unit_range


def _to_uint8(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """8-bit values of an array of any numeric type, and whether it held floating point numbers from 0 to 1."""
    if array.dtype == np.uint8:
        return array, False
    if array.dtype == bool:
        return array.astype(np.uint8) * 255, False
    is_float = np.issubdtype(array.dtype, np.floating)
    if not is_float and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`images` holds an array of type {array.dtype}: allowed are integers, floats and booleans.")
    low, high = float(array.min()), float(array.max())
    allowed = "0 to 1 or 0 to 255" if is_float else "0 to 255 or 0 to 65535"
    if not (low >= 0 and high <= (255 if is_float else 65535)):  # also refuses NaN
        raise ValueError(
            f"`images` holds values from {low} to {high} of type {array.dtype}: allowed are {allowed}. Give images "
            "before any normalisation."
        )
    from_unit_range = is_float and high <= 1
    if from_unit_range:
        array = array * 255.0
    elif array.dtype.str[1:] == "u2" or high > 255:  # of either byte order
        array = array / 257.0
    return np.rint(array).astype(np.uint8), from_unit_range


def read_segmentation_map(image: Any) -> torch.Tensor:
    """One segmentation map as int64 of shape (height, width), its values as they are."""
    if isinstance(image, PIL.Image.Image):
        if len(image.getbands()) != 1:
            raise ValueError(
                f"`segmentation_maps` holds a PIL image of mode {image.mode!r}: a map has one channel of class ids; "
                "convert its colours to ids before."
            )
        array = np.asarray(PIL.ImageOps.exif_transpose(image))
    else:
        array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    ids = array.astype(np.int64)
    if not np.array_equal(ids, array):
        raise ValueError("`segmentation_maps` holds values that are not integers: give class ids.")
    return torch.from_numpy(ids)
