# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos of any mode as RGB, and several pictures on one sheet."""

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """A photo as it is drawn on.

    Args:
        image (`PIL.Image.Image`): The photo, of any mode.

    Returns:
        `PIL.Image.Image`: 8-bit RGB, transparent places white; 16-bit gray values are scaled down, which Pillow would
        not do.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((values / (257 if values.max() > 255 else 1)).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    photo = Image.new("RGB", image.size, "white")
    photo.paste(image, mask=image.getchannel("A"))
    return photo


def sheet(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Puts pictures next to and below each other, row by row, on white.

    Args:
        pictures (`list[PIL.Image.Image]`): At least one, all of one size.
        columns (`int`): How many next to each other, at most.

    Returns:
        `PIL.Image.Image`: The sheet, RGB.
    """
    width, height = pictures[0].size
    gap = max(2, round(min(width, height) / 40))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        canvas.paste(picture, (column * (width + gap), row * (height + gap)))
    return canvas


__all__ = ["as_rgb", "sheet"]
