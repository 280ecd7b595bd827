# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Reading a photo from a file, the web or standard input, with limits on its bytes and pixels."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException
from io import BytesIO
from typing import Any, BinaryIO
from urllib.request import Request, urlopen

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from catseg_hf.formats.format import is_url
from catseg_hf.formats.result_files import STDIN
from catseg_hf.image_reading_catseg import MAX_PIXELS, TooManyPixelsError, damage_named, open_picture, read_image


# Of a photo from the web or from standard input.
MAX_BYTES = 100 * 2**20
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 2**18

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor
# Formats of animations, as Pillow calls them.
ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")


def is_one_photo(images: Any) -> bool:
    """Whether something is a [`Picture`], and not several; an array of four dimensions is a batch."""
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim < 4
    return isinstance(images, str | os.PathLike | Image.Image)


def name_and_picture(image: Any, number: int = 0) -> tuple[str, Image.Image]:
    """What a [`Picture`] is called, if need be by `number`, and the photo: RGB, upright, transparent places white."""
    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        picture = picture_or_reason(read_photo, name)
        if isinstance(picture, str):
            raise OSError(f"{name} {picture}")
        return name, picture
    name = getattr(image, "filename", "") or f"image-{number}"
    if not isinstance(image, Image.Image) and getattr(image, "ndim", None) not in (2, 3):
        kind = f"a {type(image).__name__}" if not hasattr(image, "shape") else f"of shape {tuple(image.shape)}"
        raise TypeError(f"{name} is {kind}: give a path, a URL or a picture.")
    return name, Image.fromarray(read_image(image, None, True, MAX_PIXELS)[0])


def picture_or_reason(read: Callable[..., Image.Image], *arguments: Any) -> Image.Image | str:
    """The picture that `read` returns, or why it cannot be read."""
    try:
        return read(*arguments)
    except Exception as error:  # decoders raise errors of all kinds on damaged files
        return f"cannot be read as a picture: {error or type(error).__name__}"


def read_photo(name: str) -> Image.Image:
    """Reads a photo as the model sees it; see [`decode_photo`].

    `name` is a path, an `http(s)` URL, or `"-"` for standard input. From the last two at most 100 MiB are read.
    """
    if name == STDIN:
        return decode_photo(BytesIO(_read_capped(sys.stdin.buffer, "Standard input")), MAX_PIXELS)
    if is_url(name):
        # Some servers refuse clients that do not say who they are.
        request = Request(name, headers={"User-Agent": "catseg-hf"})
        try:
            with closing(urlopen(request, timeout=TIMEOUT_SECONDS)) as response:
                content = _read_capped(response, "The file")
        except HTTPException as error:  # which is no OSError
            raise OSError(f"its server does not answer as it should: {error!r}") from error
        return decode_photo(BytesIO(content), MAX_PIXELS)
    with open(name, "rb") as file:
        return decode_photo(file, MAX_PIXELS)


def _read_capped(stream: BinaryIO, what: str) -> bytes:
    parts, total = [], 0
    while part := stream.read(CHUNK_BYTES):
        parts.append(part)
        total += len(part)
        if total > MAX_BYTES:
            raise ValueError(
                f"{what} has more than {MAX_BYTES // 2**20} MiB, the most that is read from there: save it and give "
                "its path."
            )
    return b"".join(parts)


def decode_photo(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Decodes a photo as the model sees it: RGB, upright by its EXIF orientation, transparent places white.

    Photos of more than `max_pixels` are refused before they are decoded. Of an animation it is the first frame, with
    `"is_animated"` in its `info`.
    """
    try:
        with warnings.catch_warnings(), damage_named():
            # Pillow warns of pictures half as large as the limit, which holds for all of them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with open_picture(file) as picture:
                photo = Image.fromarray(read_image(picture, None, True, max_pixels)[0])
                if _is_animated(picture):
                    photo.info["is_animated"] = True
                return photo
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"it has more than {max_pixels:,} pixels: make it smaller.") from error
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError("it is none, or of a format that Pillow does not know.") from error


def _is_animated(picture: Image.Image) -> bool:
    # Others are several, too: photos with a preview, pages.
    if picture.format not in ANIMATED:
        return False
    try:
        return picture.is_animated
    except Exception:  # decoders raise errors of all kinds on damaged frames, of which the first was read
        return True
