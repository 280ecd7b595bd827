# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a segmentation: overlays with a legend, outlines, side by side, heat maps.

The colours are those of [`label_colors`]; every text stands beside the photo, never on it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from catseg_hf.colors import class_colors, label_colors, perceived_colors


# Looked for, by file name, where Pillow's own font lacks a letter of the labels.
SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc", "arial.ttf")
# A picture with text is at least so wide, in pixels.
MIN_WIDTH = 160
INK, FAINT_INK = "#1a1a1a", "#666666"
# Points of the colour map "viridis" (Smith and van der Walt, CC0), which gets lighter evenly for all kinds of eyes.
HEAT_COLORS = np.array(
    [(68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99)]
    + [(170, 220, 50), (253, 231, 37)]
)
# Longer side of a panel in a sheet of heat maps, in pixels.
PANEL_SIZE = 480

Entry = tuple[str, str, tuple[int, int, int]]


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

    Each class is filled with its colour of [`label_colors`] and edged with it. The legend lists the classes that are in
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
    if not 0 <= opacity <= 1:
        raise ValueError(f"`opacity` must be between 0 and 1, got {opacity}.")
    ids, entries = _classes(image, segmentation, labels, background_id)
    picture = _painted(image, ids, labels, opacity)
    return _with_legend(picture, entries, font) if legend else picture


def contours(
    image: Image.Image,
    segmentation: Any,
    labels: Sequence[str | Sequence[str]],
    legend: bool = True,
    background_id: int | None = None,
    font: str | Path | None = None,
) -> Image.Image:
    """Draws only the outlines of the classes, so that the photo keeps its colours.

    On each side of a border runs a line in the colour of the class there; a thin dark line between the two sets them
    off from each other and from any photo.

    Args:
        image, segmentation, labels, legend, background_id, font: As for [`overlay`].

    Returns:
        `PIL.Image.Image`: The picture, RGB.

    Raises:
        ValueError: If `segmentation` does not fit the photo or the labels.
    """
    ids, entries = _classes(image, segmentation, labels, background_id)
    colors = Image.fromarray(_colors_and_none(labels)[ids])
    picture = _as_rgb(image)
    thin = max(1, round(min(image.size) / 600))
    wide = max(2, 4 * thin)
    picture.paste(colors, mask=Image.fromarray(_edges(ids, wide) & (ids < len(labels))))
    picture.paste(INK, mask=Image.fromarray(_edges(ids, thin)))
    return _with_legend(picture, entries, font) if legend else picture


def side_by_side(
    image: Image.Image,
    segmentation: Any,
    labels: Sequence[str | Sequence[str]],
    opacity: float = 0.55,
    background_id: int | None = None,
    font: str | Path | None = None,
) -> Image.Image:
    """Puts the photo and its overlay next to each other, or below each other where the photo is wide.

    Args:
        image, segmentation, labels, opacity, background_id, font: As for [`overlay`].

    Returns:
        `PIL.Image.Image`: The picture, RGB, with one legend below both.

    Raises:
        ValueError: As for [`overlay`].
    """
    painted = overlay(image, segmentation, labels, opacity, legend=False, background_id=background_id)
    _, entries = _classes(image, segmentation, labels, background_id)
    return _with_legend(_sheet([_as_rgb(image), painted], 1 if image.width > 2 * image.height else 2), entries, font)


def heat_map(
    image: Image.Image,
    scores: Any,
    label: str | Sequence[str] = "",
    limits: tuple[float, float] | None = (0.0, 1.0),
    font: str | Path | None = None,
) -> Image.Image:
    """Shows where in the photo a class scores high, from dark blue (low) to yellow (high), over the photo in gray.

    Args:
        image (`PIL.Image.Image`): The photo, of any mode.
        scores (`torch.Tensor` or `np.ndarray` of shape `(height, width)`):
            Scores of one class, as `post_process_class_scores` returns them for each; of the photo's size, or smaller,
            and then enlarged.
        label (`str` or `Sequence[str]`, *optional*): Name of the class, written below the photo.
        limits (`tuple[float, float]`, *optional*, defaults to `(0.0, 1.0)`):
            What the ends of the colour scale stand for; scores beyond are drawn like the ends. `None`: the lowest and
            the highest of the scores, as for the raw logits of MMSegmentation's models.
        font (`str` or `Path`, *optional*): As for [`overlay`].

    Returns:
        `PIL.Image.Image`: The picture, RGB, with the colour scale below the photo.

    Raises:
        ValueError: If `scores` has not two dimensions, holds anything but finite numbers, or `limits` are not rising.

    Example:

    ```python
    >>> scores = processor.post_process_class_scores(outputs, target_sizes=[(image.height, image.width)])[0]
    >>> heat_map(image, scores[0], "cat").save("cat.png")
    ```
    """
    values = _score_map(scores)
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    if limits is None and low == high:
        high = low + 1.0
    if not low < high:
        raise ValueError(f"`limits` must be two rising numbers, such as (0, 1), got {limits}.")
    strength = Image.fromarray(((values - low) / (high - low)).clip(0, 1)).resize(image.size, Image.Resampling.BILINEAR)
    steps = (np.asarray(strength) * 255).round().astype(np.uint8)
    ramp = _heat_ramp()
    gray = ImageOps.autocontrast(_as_rgb(image).convert("L")).convert("RGB")
    picture = Image.blend(gray, Image.fromarray(ramp[steps]), 0.65)
    name = label if isinstance(label, str) else ", ".join(label)
    return _with_scale(picture, name, (low, high), font)


def heat_maps(
    image: Image.Image,
    scores: Any,
    labels: Sequence[str | Sequence[str]],
    limits: tuple[float, float] | None = (0.0, 1.0),
    font: str | Path | None = None,
) -> Image.Image:
    """Puts the heat maps of several classes on one sheet, the photo reduced to at most 480 pixels for each.

    Args:
        image (`PIL.Image.Image`): The photo, of any mode.
        scores (`torch.Tensor` or `np.ndarray` of shape `(T, height, width)`):
            Scores of all classes, as `post_process_class_scores` returns them for one image; of any height and width.
        labels (`Sequence[str | Sequence[str]]`): Names of the T classes.
        limits (`tuple[float, float]`, *optional*, defaults to `(0.0, 1.0)`):
            As for [`heat_map`]; with `None`, lowest and highest of the scores of all classes.
        font (`str` or `Path`, *optional*): As for [`overlay`].

    Returns:
        `PIL.Image.Image`: The sheet, RGB.

    Raises:
        ValueError: If there is not one map for each label, or as for [`heat_map`].
    """
    if len(scores) != len(labels) or not len(labels):
        raise ValueError(f"`scores` holds {len(scores)} maps for {len(labels)} `labels`: give one for each class.")
    if limits is None:
        low, high = min(float(values.min()) for values in scores), max(float(values.max()) for values in scores)
        limits = (low, high if high > low else low + 1.0)
    small = _as_rgb(image)
    small.thumbnail((PANEL_SIZE, PANEL_SIZE))
    panels = []
    for values, label in zip(scores, labels, strict=True):
        reduced = Image.fromarray(_score_map(values)).resize(small.size, Image.Resampling.BILINEAR)
        panels.append(heat_map(small, np.asarray(reduced), label, limits, font))
    # About as wide as high.
    width, height = panels[0].size
    return _sheet(panels, max(1, round(math.sqrt(len(panels) * height / width))))


# ---- classes --------------------------------------------------------------------------------------------------------


def _classes(
    image: Image.Image, segmentation: Any, labels: Sequence[str | Sequence[str]], background_id: int | None
) -> tuple[np.ndarray, list[Entry]]:
    """The class ids, background as `len(labels)`, and what the legend says of the classes that are in the picture."""
    ids = np.asarray(segmentation.cpu() if hasattr(segmentation, "cpu") else segmentation)
    if ids.shape != (image.height, image.width):
        raise ValueError(
            f"`segmentation` of shape {ids.shape} does not fit the photo of height {image.height} and width "
            f"{image.width}: give `target_sizes=[(image.height, image.width)]` to `post_process_semantic_segmentation`."
        )
    is_background = np.zeros(ids.shape, dtype=bool) if background_id is None else ids == background_id
    classes = ids[~is_background]
    if classes.size and not 0 <= classes.min() <= classes.max() < len(labels):
        raise ValueError(
            f"`segmentation` has class ids from {classes.min()} to {classes.max()}, but there are {len(labels)} "
            f"`labels`, for the ids 0 to {len(labels) - 1}: give the labels it was made with, or name the id of pixels "
            "without a class as `background_id`."
        )
    colors, entries = label_colors(labels), []
    counts = np.bincount(classes.astype(np.int64), minlength=len(labels))
    for index in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
        label, area = labels[index], counts[index] / ids.size
        name = label if isinstance(label, str) else ", ".join(label)
        share = f"{area:.0%}" if area >= 0.01 else "<1%"
        entries.append((name, share, tuple(int(value) for value in colors[index])))
    # The smallest type that holds them: large photos are drawn much faster.
    return np.where(is_background, len(labels), ids).astype(np.min_scalar_type(len(labels))), entries


def _painted(image: Image.Image, ids: np.ndarray, labels: Sequence[str | Sequence[str]], opacity: float) -> Image.Image:
    """The photo with its classes filled and edged."""
    colors = _colors_and_none(labels)
    strength = np.full(len(labels) + 1, round(opacity * 255), dtype=np.uint8)
    strength[-1] = 0
    painted = Image.fromarray(colors[ids])
    picture = Image.composite(painted, _as_rgb(image), Image.fromarray(strength[ids]))
    edges = _edges(ids, width=max(1, round(min(image.size) / 300))) & (ids < len(labels))
    picture.paste(painted, mask=Image.fromarray(edges))
    return picture


def _colors_and_none(labels: Sequence[str | Sequence[str]]) -> np.ndarray:
    """The colours of the labels and an entry for pixels without a class."""
    return np.concatenate([label_colors(labels), np.zeros((1, 3), dtype=np.uint8)])


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


def _score_map(scores: Any) -> np.ndarray:
    values = np.asarray(scores.float().cpu() if hasattr(scores, "cpu") else scores, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"`scores` of one class must be of shape (height, width), got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("`scores` must be finite numbers, but some are not.")
    return values


def _heat_ramp() -> np.ndarray:
    """256 colours from low to high, uint8 of shape (256, 3)."""
    place = np.linspace(0, len(HEAT_COLORS) - 1, 256)
    channels = [np.interp(place, range(len(HEAT_COLORS)), HEAT_COLORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


# ---- text beside pictures -------------------------------------------------------------------------------------------


def _sheet(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size, row by row, on white."""
    width, height = pictures[0].size
    gap = max(2, round(min(width, height) / 40))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet


def _with_legend(picture: Image.Image, entries: list[Entry], font: str | Path | None) -> Image.Image:
    """Adds a white strip below the picture, with a swatch, a name and a share for each entry, in columns."""
    width = max(picture.width, MIN_WIDTH)
    face = _best_face("".join(name for name, _, _ in entries)) if font is None else str(font)
    size = _letter_size(picture)
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
        draw.text((left + size + gap, middle), _shortened(name, letters, name_width), INK, letters, "lm")
        draw.text((left + fixed_width + name_width, middle), share, FAINT_INK, letters, "rm")
    return canvas


def _with_scale(picture: Image.Image, name: str, limits: tuple[float, float], font: str | Path | None) -> Image.Image:
    """Adds a white strip below the picture, with a name on the left and the colour scale on the right."""
    width = max(picture.width, MIN_WIDTH)
    face = _best_face(name) if font is None else str(font)
    size = _letter_size(picture)
    letters = ImageFont.load_default(size) if face is None else ImageFont.truetype(face, size)
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
    canvas.paste(Image.fromarray(np.tile(_heat_ramp()[steps], (size, 1, 1))), (left, middle - size // 2))
    draw.text((right, middle), high, FAINT_INK, letters, "lm")
    draw.text((left - gap // 2, middle), low, FAINT_INK, letters, "rm")
    room = left - gap // 2 - math.ceil(letters.getlength(low)) - 2 * gap
    draw.text((gap, middle), _shortened(name, letters, room), INK, letters, "lm")
    return canvas


def _letter_size(picture: Image.Image) -> int:
    return min(max(round(min(picture.size) / 24), 12), 96)


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
    length = bisect_right(range(len(name)), width, key=lambda length: letters.getlength(name[:length] + "…")) - 1
    return name[: max(0, length)].rstrip(" ,") + "…"


__all__ = [
    "class_colors",
    "contours",
    "heat_map",
    "heat_maps",
    "label_colors",
    "overlay",
    "perceived_colors",
    "side_by_side",
]
