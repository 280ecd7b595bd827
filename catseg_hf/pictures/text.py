# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Texts beside pictures: legends, colour scales, and the letters that they are written in."""

import math
from bisect import bisect_right
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from catseg_hf.pictures.colors import heat_ramp


# Looked for, by file name, where Pillow's own font lacks a letter of the labels.
SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "arial.ttf")
# A picture with text is at least so wide, in pixels.
MIN_WIDTH = 160
INK, FAINT_INK = "#1a1a1a", "#666666"

# Name, share of the picture and colour of a class.
LegendEntry = tuple[str, str, tuple[int, int, int]]


def with_legend(picture: Image.Image, entries: list[LegendEntry], font: str | Path | None) -> Image.Image:
    """Adds a white strip below a picture, with a swatch, a name and a share for each class, in columns.

    Args:
        picture (`PIL.Image.Image`): The picture, RGB.
        entries (`list[tuple[str, str, tuple[int, int, int]]]`): Name, share and RGB colour of each class; there is no
            strip where there are none.
        font (`str` or `Path`, *optional*): A TrueType font; by default that of [`best_face`].

    Returns:
        `PIL.Image.Image`: The picture with its legend, RGB, at least 160 pixels wide.
    """
    width = max(picture.width, MIN_WIDTH)
    face = best_face("".join(name for name, _, _ in entries)) if font is None else str(font)
    size = _letter_size(picture)
    while True:
        letters = load_letters(face, size)
        row_height, gap = round(size * 1.6), round(size * 0.6)
        longest = max((letters.getlength(name) for name, _, _ in entries), default=0)
        fixed_width = size + gap + round(letters.getlength("100%")) + gap
        # As many columns as have room for a name of ordinary length; longer names are cut.
        room = width - gap
        columns = max(1, min(len(entries), int(room // (fixed_width + min(longest, size * 10) + 2 * gap))))
        rows = -(-len(entries) // columns)
        # Smaller letters where the legend would be higher than the photo.
        if size <= 12 or rows * row_height + 2 * gap <= picture.height:
            break
        size -= 1
    column_width = room // columns
    name_width = min(longest, column_width - gap - fixed_width)

    canvas = Image.new("RGB", (width, picture.height + (rows * row_height + 2 * gap if entries else 0)), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for index, (name, share, color) in enumerate(entries):
        column, row = divmod(index, rows)
        left, middle = gap + column * column_width, picture.height + gap + row * row_height + row_height // 2
        top = middle - size // 2
        draw.rectangle((left, top, left + size, top + size), fill=color, outline="#808080")
        draw.text((left + size + gap, middle), shortened(name, letters, name_width), INK, letters, "lm")
        draw.text((left + fixed_width + name_width, middle), share, FAINT_INK, letters, "rm")
    return canvas


def with_scale(picture: Image.Image, name: str, limits: tuple[float, float], font: str | Path | None) -> Image.Image:
    """Adds a white strip below a heat map, with a name on the left and the colour scale on the right.

    Args:
        picture (`PIL.Image.Image`): The heat map, RGB.
        name (`str`): What it shows.
        limits (`tuple[float, float]`): What the ends of the colour scale stand for.
        font (`str` or `Path`, *optional*): A TrueType font; by default that of [`best_face`].

    Returns:
        `PIL.Image.Image`: The picture with its scale, RGB, at least 160 pixels wide.
    """
    width = max(picture.width, MIN_WIDTH)
    face = best_face(name) if font is None else str(font)
    size = _letter_size(picture)
    letters = load_letters(face, size)
    gap, strip = round(size * 0.6), round(size * 1.6)
    canvas = Image.new("RGB", (width, picture.height + strip + gap), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    middle = picture.height + (strip + gap) // 2
    low, high = (f"{limit:.3g}" for limit in limits)
    bar = max(24, min(size * 6, width // 3))
    right = width - gap - math.ceil(letters.getlength(high))
    left = right - gap // 2 - bar
    steps = np.linspace(0, 255, bar).round().astype(int)
    canvas.paste(Image.fromarray(np.tile(heat_ramp()[steps], (size, 1, 1))), (left, middle - size // 2))
    draw.text((right, middle), high, FAINT_INK, letters, "lm")
    draw.text((left - gap // 2, middle), low, FAINT_INK, letters, "rm")
    room = left - gap // 2 - math.ceil(letters.getlength(low)) - 2 * gap
    draw.text((gap, middle), shortened(name, letters, room), INK, letters, "lm")
    return canvas


def _letter_size(picture: Image.Image) -> int:
    return min(max(round(min(picture.size) / 24), 12), 96)


def best_face(text: str) -> str | None:
    """The font that has most letters of a text.

    Args:
        text (`str`): The text.

    Returns:
        `str`, *optional*: File name of a font of the system; `None` for Pillow's own, also where both have as many.
    """
    best, fewest = None, _count_missing(ImageFont.load_default(16), text)
    for face in SYSTEM_FONTS if fewest else ():
        try:
            missing = _count_missing(ImageFont.truetype(face, 16), text)
        except OSError:  # not on this system
            continue
        if missing < fewest:
            best, fewest = face, missing
    return best


def load_letters(face: str | None, size: int) -> ImageFont.FreeTypeFont:
    """Loads a font.

    Args:
        face (`str`, *optional*): File name of a TrueType font; `None` for Pillow's own.
        size (`int`): Of its letters, in pixels.

    Returns:
        `ImageFont.FreeTypeFont`: The font.

    Raises:
        OSError: If there is no such font.
    """
    return ImageFont.load_default(size) if face is None else ImageFont.truetype(face, size)


def _count_missing(letters: ImageFont.FreeTypeFont, text: str) -> int:
    """Number of different characters that the font draws as it draws U+FFFF, which no font has."""
    box = bytes(letters.getmask("\uffff"))
    return sum(bytes(letters.getmask(character)) == box for character in set(text) if not character.isspace())


def shortened(name: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
    """A name that fits.

    Args:
        name (`str`): The name.
        letters (`ImageFont.FreeTypeFont`): What it is written in.
        width (`float`): Room for it, in pixels.

    Returns:
        `str`: The name, cut with an ellipsis where it is wider.
    """
    if letters.getlength(name) <= width:
        return name
    length = bisect_right(range(len(name)), width, key=lambda length: letters.getlength(name[:length] + "…")) - 1
    return name[: max(0, length)].rstrip(" ,") + "…"


__all__ = [
    "FAINT_INK",
    "INK",
    "MIN_WIDTH",
    "LegendEntry",
    "best_face",
    "load_letters",
    "shortened",
    "with_legend",
    "with_scale",
]
