# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Colours of classes that most eyes can tell apart, and that stay with a label."""

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import count

import numpy as np


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

# Points of the colour map "viridis" (Smith and van der Walt, CC0), which gets lighter evenly for all kinds of eyes.
HEAT_COLORS = np.array(
    [(68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99)]
    + [(170, 220, 50), (253, 231, 37)]
)

# So many colours are handed out by the name of a label: all kinds of eyes tell them apart.
NAMED_COLORS = 20
# Found by trying: with it sky is blue, grass and trees are green, and everyday words get colours far from each other.
NAME_SALT = 34100


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
    vivid = (normal[:, 0] > 0.5) & (normal[:, 0] < 0.92) & (np.hypot(normal[:, 1], normal[:, 2]) > 0.07)
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

    Example:

    ```python
    >>> from catseg_hf.pictures import class_colors

    >>> class_colors(3).shape
    (3, 3)
    ```
    """
    # Rounding up keeps the search from being repeated for every number.
    colors = _color_sequence(max(64, 1 << (number - 1).bit_length() if number else 0))
    return np.array(colors[:number], dtype=np.uint8).reshape(-1, 3)


def label_colors(labels: Sequence[str | Sequence[str]]) -> np.ndarray:
    """Colours of labels: each has a favourite among the first twenty of [`class_colors`], which comes from its name.

    So a label has the same colour in every picture and with every vocabulary, unless another one before it in the list
    has taken that; then it gets its next choice. Labels that are appended never change the colours of the others. Of
    five labels nine in ten have their favourite, of ten eight in ten. When the twenty are gone, the further colours of
    [`class_colors`] follow in order. No two labels share a colour.

    Args:
        labels (`Sequence[str | Sequence[str]]`):
            Names of the classes; of a class with synonyms their list, of which the first name counts. Capital letters
            and spaces make no difference.

    Returns:
        `np.ndarray` of shape `(len(labels), 3)` and type `uint8`: RGB colours.

    Example:

    ```python
    >>> from catseg_hf.pictures import label_colors

    >>> label_colors(["cat", "grass"])[0].tolist() == label_colors(["cat", "sky", "road"])[0].tolist()
    True
    ```
    """
    named, further = set(range(NAMED_COLORS)), count(NAMED_COLORS)
    chosen = []
    for label in labels:
        name = label if isinstance(label, str) else label[0]
        digest = hashlib.sha256(f"{NAME_SALT} {' '.join(name.lower().split())}".encode()).digest()
        favourites = np.argsort(np.frombuffer(digest, dtype=np.uint8)[:NAMED_COLORS], kind="stable").tolist()
        color = next((color for color in favourites if color in named), None)
        chosen.append(next(further) if color is None else color)
        named.discard(color)
    return class_colors(NAMED_COLORS + len(chosen))[chosen]


def heat_ramp() -> np.ndarray:
    """The colours of heat maps, from low to high.

    Returns:
        `np.ndarray` of shape `(256, 3)` and type `uint8`: RGB colours.
    """
    place = np.linspace(0, len(HEAT_COLORS) - 1, 256)
    channels = [np.interp(place, range(len(HEAT_COLORS)), HEAT_COLORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


__all__ = ["class_colors", "heat_ramp", "label_colors", "perceived_colors"]
