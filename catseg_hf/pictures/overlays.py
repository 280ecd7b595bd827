# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A segmentation over its photo: filled and edged classes with a legend, outlines, or photo and overlay side by side.

The colours are those of [`label_colors`]; every text stands beside the photo, never on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from catseg_hf.pictures.colors import label_colors
from catseg_hf.pictures.photos import as_rgb, sheet
from catseg_hf.pictures.text import INK, LegendEntry, with_legend


def overlay(
    image: Image.Image,
    segmentation: Any,
    labels: Sequence[str | Sequence[str]],
    opacity: float = 0.55,
    legend: bool = True,
    background_id: int | None = None,
    font: str | Path | None = None,
    edge_width: int | None = None,
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
        edge_width (`int`, *optional*):
            Width of the edges in pixels, 0 for none; by default a 300th of the photo's shorter side.

    Returns:
        `PIL.Image.Image`: The picture, RGB; with a legend it is higher than the photo, and at least 160 pixels wide.

    Raises:
        ValueError: If `segmentation` does not fit the photo or the labels, or `opacity` is not between 0 and 1.

    Example:

    ```python
    >>> import numpy as np
    >>> from PIL import Image
    >>> from catseg_hf.pictures import overlay

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
    picture = _painted(image, ids, labels, opacity, edge_width)
    return with_legend(picture, entries, font) if legend else picture


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

    Example:

    ```python
    >>> from catseg_hf.pictures import contours
    >>> from catseg_hf.scenes import draw_scene

    >>> scene = draw_scene(7)
    >>> contours(scene.image, scene.label_map, scene.names, background_id=-1).save("contours.png")
    ```
    """
    ids, entries = _classes(image, segmentation, labels, background_id)
    colors = Image.fromarray(_colors_and_none(labels)[ids])
    picture = as_rgb(image)
    thin = max(1, round(min(image.size) / 600))
    wide = max(2, 4 * thin)
    picture.paste(colors, mask=Image.fromarray(_edges(ids, wide) & (ids < len(labels))))
    picture.paste(INK, mask=Image.fromarray(_edges(ids, thin)))
    return with_legend(picture, entries, font) if legend else picture


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

    Example:

    ```python
    >>> from catseg_hf.pictures import side_by_side
    >>> from catseg_hf.scenes import draw_scene

    >>> scene = draw_scene(7)
    >>> side_by_side(scene.image, scene.label_map, scene.names, background_id=-1).save("both.png")
    ```
    """
    painted = overlay(image, segmentation, labels, opacity, legend=False, background_id=background_id)
    _, entries = _classes(image, segmentation, labels, background_id)
    return with_legend(sheet([as_rgb(image), painted], 1 if image.width > 2 * image.height else 2), entries, font)


def _classes(
    image: Image.Image, segmentation: Any, labels: Sequence[str | Sequence[str]], background_id: int | None
) -> tuple[np.ndarray, list[LegendEntry]]:
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


def _painted(
    image: Image.Image,
    ids: np.ndarray,
    labels: Sequence[str | Sequence[str]],
    opacity: float,
    edge_width: int | None,
) -> Image.Image:
    """The photo with its classes filled and edged."""
    colors = _colors_and_none(labels)
    strength = np.full(len(labels) + 1, round(opacity * 255), dtype=np.uint8)
    strength[-1] = 0
    painted = Image.fromarray(colors[ids])
    picture = Image.composite(painted, as_rgb(image), Image.fromarray(strength[ids]))
    width = max(1, round(min(image.size) / 300)) if edge_width is None else edge_width
    edges = _edges(ids, width) & (ids < len(labels))
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


__all__ = ["contours", "overlay", "side_by_side"]
