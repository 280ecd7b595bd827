# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Image files of every format and mode that Pillow writes, whole and damaged, read as photos of the command line."""

import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from catseg_hf.segmenting.photo_reading import read_photo
from tests.robustness.outcomes import Attempts


MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
SIZE = (37, 23)

# Of Pillow, about damaged files and about writing 32-bit PNGs.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore:Saving I mode:DeprecationWarning"),
]


def picture(mode: str) -> Image.Image:
    """Noise that is smooth enough for all formats, with every value that a mode has somewhere."""
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    colors = Image.fromarray(values, "RGBA").resize(SIZE, Image.Resampling.BICUBIC)
    if mode in ("I", "I;16", "F"):
        gray = np.asarray(colors.convert("L"))
        values = {"I": gray * np.int32(200), "I;16": gray * np.uint16(200), "F": gray / np.float32(255)}
        return Image.fromarray(values[mode])
    if mode in ("LAB", "HSV"):
        return Image.frombytes(mode, SIZE, np.asarray(colors.convert("RGB")).tobytes())
    return colors.convert(mode) if mode in ("RGBA", "LA") else colors.convert("RGB").convert(mode)


def files() -> Iterator[tuple[str, bytes]]:
    """Every format that can be read back with every mode that it takes, as `FORMAT-MODE` and content."""
    Image.init()
    for kind in sorted(Image.SAVE.keys() & Image.OPEN.keys() - {"EPS"}):  # which needs Ghostscript beside Pillow
        for mode in MODES:
            content = io.BytesIO()
            try:
                picture(mode).save(content, kind)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
                continue  # a mode that the format has not, or a format that this build of Pillow has not
            yield f"{kind}-{mode.replace(';', '_')}", content.getvalue()


def decoded(content: bytes) -> Image.Image:
    """The plain definition: Pillow's own picture, upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(content))
        image.load()
        return ImageOps.exif_transpose(image)


def as_seen(image: Image.Image) -> np.ndarray:
    """RGB by Pillow's conversion, on white where it is transparent; integers and floats by their documented range."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        scale = 255 if image.mode == "F" and values.max() <= 1 else 1
        scale = 1 / 257 if image.mode != "F" and (image.mode != "I" or values.max() > 255) else scale
        return np.rint(values * scale).astype(np.uint8)[..., None].repeat(3, axis=2)
    if image.getbands()[-1] in ("A", "a") or "transparency" in image.info:
        values = np.asarray(image.convert("RGBA")).astype(np.float64)
        alpha = values[..., 3:] / 255
        return np.rint(values[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def is_as_pillow_reads_it(picture: Image.Image, content: bytes) -> bool:
    difference = np.asarray(picture).astype(int) - as_seen(decoded(content))
    return picture.mode == "RGB" and np.abs(difference).max() <= 1  # by rounding where it is transparent


def attempt_file(attempts: Attempts, case: str, content: bytes, path: Path) -> None:
    path.write_bytes(content)
    attempts.attempt(case, lambda: read_photo(str(path)), lambda picture: is_as_pillow_reads_it(picture, content))


def test_whole_files(attempts: Attempts, tmp_path: Path) -> None:
    """Files of each format and mode that Pillow writes."""
    for case, content in files():
        attempt_file(attempts, case, content, tmp_path / case)


def test_orientations(attempts: Attempts, tmp_path: Path) -> None:
    """Eight EXIF orientations, and values that are none."""
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in range(-1, 11):
            exif, content = Image.Exif(), io.BytesIO()
            exif[ExifTags.Base.Orientation] = orientation % 256
            picture("RGB").save(content, kind, exif=exif)
            attempt_file(attempts, f"{kind} {orientation}", content.getvalue(), tmp_path / "photo")


def test_truncated_files(attempts: Attempts, tmp_path: Path, dice: random.Random) -> None:
    """Files cut off at four random places."""
    for case, content in files():
        for end in dice.sample(range(len(content)), 4):
            attempt_file(attempts, f"{case} up to {end}", content[:end], tmp_path / "photo")


def test_files_with_flipped_bits(attempts: Attempts, tmp_path: Path, dice: random.Random) -> None:
    """Files with one, two, four and eight random bits flipped."""
    for case, content in files():
        for number in (1, 2, 4, 8):
            damaged = bytearray(content)
            places = [dice.randrange(8 * len(content)) for _ in range(number)]
            for place in places:
                damaged[place // 8] ^= 1 << place % 8
            attempt_file(attempts, f"{case} with {places} flipped", bytes(damaged), tmp_path / "photo")
