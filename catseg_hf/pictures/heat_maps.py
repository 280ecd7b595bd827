# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Heat maps: where in a photo a class scores high."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from catseg_hf.pictures.colors import heat_ramp
from catseg_hf.pictures.photos import as_rgb, sheet
from catseg_hf.pictures.text import with_scale


# Longer side of a panel in a sheet of heat maps, in pixels.
PANEL_SIZE = 480


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
    ramp = heat_ramp()
    gray = ImageOps.autocontrast(as_rgb(image).convert("L")).convert("RGB")
    picture = Image.blend(gray, Image.fromarray(ramp[steps]), 0.65)
    name = label if isinstance(label, str) else ", ".join(label)
    return with_scale(picture, name, (low, high), font)


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

    Example:

    ```python
    >>> from catseg_hf.pictures import heat_maps

    >>> (scores,) = processor.post_process_class_scores(outputs)
    >>> heat_maps(image, scores, ["cat", "grass"]).save("heat_maps.png")
    ```
    """
    if len(scores) != len(labels) or not len(labels):
        raise ValueError(f"`scores` holds {len(scores)} maps for {len(labels)} `labels`: give one for each class.")
    if limits is None:
        low, high = min(float(values.min()) for values in scores), max(float(values.max()) for values in scores)
        limits = (low, high if high > low else low + 1.0)
    small = as_rgb(image)
    small.thumbnail((PANEL_SIZE, PANEL_SIZE))
    panels = []
    for values, label in zip(scores, labels, strict=True):
        reduced = Image.fromarray(_score_map(values)).resize(small.size, Image.Resampling.BILINEAR)
        panels.append(heat_map(small, np.asarray(reduced), label, limits, font))
    # About as wide as high.
    width, height = panels[0].size
    return sheet(panels, max(1, round(math.sqrt(len(panels) * height / width))))


def _score_map(scores: Any) -> np.ndarray:
    values = np.asarray(scores.float().cpu() if hasattr(scores, "cpu") else scores, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"`scores` of one class must be of shape (height, width), got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("`scores` must be finite numbers, but some are not.")
    return values


__all__ = ["heat_map", "heat_maps"]
