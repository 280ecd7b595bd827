# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a segmentation: an overlay in colours that most eyes can tell apart, with a legend."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont


# Of Okabe and Ito (https://jfly.uni-koeln.de/color/), without black and yellow; further colours are found by distance.
FIRST_COLORS = ((230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))

# Machado, Oliveira and Fernandes 2009, severity 1: what protanopes, deuteranopes and tritanopes see, in linear RGB.
COLOR_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)

# Looked for, by file name, where Pillow's own font lacks a letter of the labels.
SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "arial.ttf")


def perceived_colors(colors: np.ndarray) -> np.ndarray:
    """Colours as four kinds of eyes see them, in a space where equal distances look equally different (Oklab).

    Args:
        colors (`np.ndarray` of shape `(number, 3)`): RGB colours, 0 to 255.

    Returns:
        `np.ndarray` of shape `(number, 4, 3)`: Lightness (0 to 1), green to red, blue to yellow; for normal sight,
        protanopia, deuteranopia and tritanopia.
    """
    values = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.einsum("vij,nj->nvi", COLOR_VISIONS, linear).clip(0, 1)
    # Ottosson 2020, https://bottosson.github.io/posts/oklab/
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


@cache
def _color_sequence(number: int) -> tuple[tuple[int, int, int], ...]:
    levels = np.arange(0, 256, 15)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    perceived = perceived_colors(candidates)
    normal = perceived[:, 0]
    # Neither near black nor near white, nor gray: these would be lost in a photo.
    vivid = (normal[:, 0] > 0.45) & (normal[:, 0] < 0.92) & (np.hypot(normal[:, 1], normal[:, 2]) > 0.07)
    candidates, perceived = candidates[vivid], perceived[vivid]

    colors = list(FIRST_COLORS)
    distance = np.full(len(candidates), np.inf)
    for index in range(max(number, len(colors))):
        if index == len(colors):
            # The candidate that is farthest from all colours so far, for the eye that tells it least apart.
            colors.append(tuple(int(value) for value in candidates[distance.argmax()]))
        difference = np.linalg.norm(perceived - perceived_colors([colors[index]]), axis=-1)
        # Normal sight, that of most, asks for larger differences.
        distance = np.minimum(distance, (difference * [0.7, 1, 1, 1]).min(axis=1))
    return tuple(colors[:number])


def class_colors(number: int) -> np.ndarray:
    """Colours of the classes 0, 1, 2, …; a class's colour does not depend on how many there are.

    The first six are those of Okabe and Ito. Each further one is as far as can be from all before it, also for
    colour-blind eyes. About twenty are told apart easily; beyond that, read a picture by its legend.

    Args:
        number (`int`): How many colours, 0 or more.

    Returns:
        `np.ndarray` of shape `(number, 3)` and type `uint8`: RGB colours.
    """
    # Rounding up keeps the search from being repeated for every number.
    colors = _color_sequence(max(64, 1 << (number - 1).bit_length() if number else 0))
    return np.array(colors[:number], dtype=np.uint8).reshape(-1, 3)


def overlay(
    image: Image.Image,
    segmentation: Any,
    labels: Sequence[str | Sequence[str]],
    opacity: float = 0.55,
    legend: bool = True,
    background_id: int | None = None,
    font: str | Path | None = None,
) -> Image.Image:
    """Draws a segmentation over its photo, with a legend below it that covers nothing.

    Each class is filled with its colour of [`class_colors`] and edged with it. The legend lists the classes that are in
    the picture, the largest first, with their share of its area.

    Args:
        image (`PIL.Image.Image`): The photo, of any mode; transparent places are shown white.
        segmentation (`torch.Tensor` or `np.ndarray` of shape `(height, width)`):
            Class ids, as `post_process_semantic_segmentation` returns them for one image.
        labels (`Sequence[str | Sequence[str]]`):
            Names of the classes, in class-id order; of a class with synonyms, their list.
        opacity (`float`, *optional*, defaults to 0.55): How much of the photo the colours hide, between 0 and 1.
        legend (`bool`, *optional*, defaults to `True`): Whether to add the legend. Without it, the picture has the size
            of the photo.
        background_id (`int`, *optional*): A class id that is left uncoloured and out of the legend.
        font (`str` or `Path`, *optional*):
            A TrueType font for the legend. By default Pillow's own, or, where that lacks letters of the labels, a font
            of the system that has more of them; letters that no font has are drawn as boxes.

    Returns:
        `PIL.Image.Image`: The picture, RGB; with a legend it is higher than the photo, and at least 160 pixels wide.

    Raises:
        ValueError: If `segmentation` does not fit the photo or the labels, or `opacity` is not between 0 and 1.

    Example:

    ```python
    >>> import numpy as np
    >>> from PIL import Image
    >>> from catseg_hf.visualization import overlay

    >>> photo = Image.new("RGB", (200, 100), "gray")
    >>> ids = np.zeros((100, 200), dtype=int)
    >>> ids[:, 120:] = 1
    >>> overlay(photo, ids, ["cat", "grass"], legend=False).size
    (200, 100)
    ```
    """
    ids = np.asarray(segmentation.cpu() if hasattr(segmentation, "cpu") else segmentation)
    if ids.shape != (image.height, image.width):
        raise ValueError(
            f"`segmentation` of shape {ids.shape} does not fit the photo of height {image.height} and width "
            f"{image.width}: give `target_sizes=[(image.height, image.width)]` to `post_process_semantic_segmentation`."
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"`opacity` must be between 0 and 1, got {opacity}.")
    shown, counts = np.unique(ids, return_counts=True)
    areas = {int(index): count / ids.size for index, count in zip(shown, counts, strict=True) if index != background_id}
    if areas and not 0 <= min(areas) <= max(areas) < len(labels):
        raise ValueError(
            f"`segmentation` has class ids from {min(areas)} to {max(areas)}, but there are {len(labels)} `labels`, "
            f"for the ids 0 to {len(labels) - 1}: give the labels it was made with, or name the id of pixels without a "
            "class as `background_id`."
        )
    if background_id is not None:
        ids = np.where(ids == background_id, len(labels), ids)

    # The entry after the last class stands for uncoloured pixels.
    colors = np.concatenate([class_colors(len(labels)), np.zeros((1, 3), dtype=np.uint8)])
    strength = np.full(len(labels) + 1, round(opacity * 255), dtype=np.uint8)
    strength[-1] = 0
    painted = Image.fromarray(colors[ids])
    photo = _as_rgb(image)
    picture = Image.composite(painted, photo, Image.fromarray(strength[ids]))
    edges = _edges(ids, width=max(1, round(min(image.size) / 300))) & (ids < len(labels))
    picture.paste(painted, mask=Image.fromarray(edges))
    if not legend:
        return picture

    entries = []
    for index, area in sorted(areas.items(), key=lambda item: -item[1]):
        label = labels[index]
        name = label if isinstance(label, str) else ", ".join(label)
        share = f"{area:.0%}" if area >= 0.01 else "<1%"
        entries.append((name, share, tuple(int(value) for value in colors[index])))
    return _with_legend(picture, entries, font)


def _as_rgb(image: Image.Image) -> Image.Image:
    """The photo as 8-bit RGB, on white; 16-bit gray values are scaled down, which Pillow would not do."""
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


def _edges(ids: np.ndarray, width: int) -> np.ndarray:
    """Pixels within `width` pixels of another class."""
    edges = np.zeros(ids.shape, dtype=bool)
    for distance in range(1, width + 1):
        for axis in (0, 1):
            if ids.shape[axis] <= distance:
                continue
            near, far = [slice(None)] * 2, [slice(None)] * 2
            near[axis], far[axis] = slice(None, -distance), slice(distance, None)
            differs = ids[tuple(near)] != ids[tuple(far)]
            edges[tuple(near)] |= differs
            edges[tuple(far)] |= differs
    return edges


def _with_legend(
    picture: Image.Image, entries: list[tuple[str, str, tuple[int, int, int]]], font: str | Path | None
) -> Image.Image:
    """Adds a white strip below the picture, with a swatch, a name and a share for each entry, in columns."""
    width = max(picture.width, 160)
    face = _best_face("".join(name for name, _, _ in entries)) if font is None else str(font)
    size = min(max(round(min(picture.size) / 24), 12), 96)
    while True:
        letters = ImageFont.load_default(size) if face is None else ImageFont.truetype(face, size)
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
        draw.text((left + size + gap, middle), _shortened(name, letters, name_width), "#1a1a1a", letters, "lm")
        draw.text((left + fixed_width + name_width, middle), share, "#666666", letters, "rm")
    return canvas


def _best_face(text: str) -> str | None:
    """File name of the font that has most letters of the text; `None` for Pillow's own."""
    best, fewest = None, _count_missing(ImageFont.load_default(16), text)
    for face in SYSTEM_FONTS if fewest else ():
        try:
            missing = _count_missing(ImageFont.truetype(face, 16), text)
        except OSError:  # not on this system
            continue
        if missing < fewest:
            best, fewest = face, missing
    return best


def _count_missing(letters: ImageFont.FreeTypeFont, text: str) -> int:
    """Number of different characters that the font draws as it draws U+FFFF, which no font has."""
    box = bytes(letters.getmask("\uffff"))
    return sum(bytes(letters.getmask(character)) == box for character in set(text) if not character.isspace())


def _shortened(name: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
    """The name, cut with an ellipsis where it is wider than `width` pixels."""
    if letters.getlength(name) <= width:
        return name
    while name and letters.getlength(name + "…") > width:
        name = name[:-1]
    return name.rstrip(" ,") + "…"


__all__ = ["class_colors", "overlay"]
