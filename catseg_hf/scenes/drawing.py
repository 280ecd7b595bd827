# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Draws scenes: coloured, patterned shapes on a textured ground."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image


# Patterns of shapes.
PATTERNS = ("plain", "striped", "dotted")
# Colours of shapes, by their names.
COLORS = {
    "red": (205, 32, 38),
    "orange": (244, 132, 18),
    "yellow": (245, 222, 50),
    "green": (38, 150, 62),
    "blue": (38, 84, 208),
    "purple": (134, 48, 168),
    "white": (244, 244, 242),
    "black": (22, 22, 26),
}
# Shapes.
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "moon")
# Colours whose stripes and dots are darker; those of the others are lighter.
LIGHT_COLORS = ("orange", "yellow", "white")
RADII = (0.1, 0.18)  # of a shape, relative to the scene
TILT = 0.35  # at most, to either side, in radians
LEAST_DISTANCE = 0.8  # between two centres, relative to the sum of their radii: shapes overlap a little
NUM_THINGS = (3, 7)


class Thing(NamedTuple):
    """A combination of pattern, colour and shape.

    Example:

    ```python
    >>> from catseg_hf.scenes import Thing

    >>> Thing("striped", "red", "star").name
    'striped red star'
    ```
    """

    pattern: str
    color: str
    shape: str

    @property
    def name(self) -> str:
        """Its full name, such as `"striped red circle"`."""
        return " ".join(self)


# All combinations of pattern, colour and shape.
THINGS = tuple(Thing(pattern, color, shape) for pattern in PATTERNS for color in COLORS for shape in SHAPES)


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Args:
        image (`PIL.Image.Image`): The picture, RGB.
        things (`list[Thing]`): What can be seen in it.
        label_map (`np.ndarray` of shape `(height, width)`, int64): Index into `things` of each pixel, -1 on the ground.
    """

    image: Image.Image
    things: list[Thing]
    label_map: np.ndarray

    @property
    def names(self) -> list[str]:
        """Full names of the things."""
        return [thing.name for thing in self.things]


def draw_scene(seed: int | Sequence[int], size: int = 256, things: Sequence[Thing] | None = None) -> Scene:
    """Draws a scene.

    Args:
        seed (`int` or `Sequence[int]`): Of everything random in it.
        size (`int`, *optional*, defaults to 256): Height and width in pixels, at least 64.
        things (`Sequence[Thing]`, *optional*):
            What to draw, no thing twice, as far as there is room: at most nine fit for sure. By default three to seven
            of all [`THINGS`].

    Returns:
        [`Scene`]

    Raises:
        ValueError: If the size is too small, or a thing is unknown or comes twice.

    Example:

    ```python
    >>> from catseg_hf.scenes import Thing, draw_scene

    >>> scene = draw_scene(3, things=[Thing("striped", "red", "circle"), Thing("plain", "blue", "star")])
    >>> scene.names
    ['striped red circle', 'plain blue star']
    ```
    """
    if size < 64:
        raise ValueError(f"`size={size}` is too small for shapes to be told apart: use at least 64.")
    rng = np.random.default_rng(seed)
    if things is None:
        number = rng.integers(NUM_THINGS[0], NUM_THINGS[1] + 1)
        things = [THINGS[index] for index in rng.choice(len(THINGS), number, replace=False)]
    for thing in things:
        if thing not in THINGS:
            raise ValueError(f"{thing!r} is unknown: its parts are from {PATTERNS}, {tuple(COLORS)} and {SHAPES}.")
    if len(set(things)) < len(things):
        raise ValueError(f"`things` has one twice: {[thing.name for thing in things]}. Leave it out.")

    pixels = _textured_ground(rng, size)
    for _ in range(rng.integers(3, 9)):
        _draw_clutter(rng, pixels)
    label_map = np.full((size, size), -1)
    drawn: list[Thing] = []
    places: list[tuple[float, float, float]] = []
    for thing in things:
        place = _find_place(rng, size, places)
        if place is not None:
            _draw_thing(rng, pixels, label_map, thing, place, len(drawn))
            drawn.append(thing)
            places.append(place)
    pixels += rng.uniform(1, 6) * rng.standard_normal((size, size, 1), dtype=np.float32)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return Scene(image, drawn, label_map)


def _textured_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Muted colours of middle brightness: coarse blotches, a finer grain, and a slope of light."""
    base = rng.uniform(95, 170) + rng.uniform(-14, 14, 3)
    pixels = np.tile(base.astype(np.float32), (size, size, 1))
    for cells, strength in (
        (int(rng.integers(3, 7)), rng.uniform(6, 18)),
        (int(rng.integers(16, 48)), rng.uniform(3, 12)),
    ):
        noise = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        pixels += np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC))[..., None]
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.uniform(-18, 18, 2).astype(np.float32)
    return pixels + (slope[0] * ramp[:, None] + slope[1] * ramp)[..., None]


def _draw_clutter(rng: np.random.Generator, pixels: np.ndarray) -> None:
    """A muted bar or blob, which belongs to the ground."""
    size = len(pixels)
    center, angle = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
    length, width = rng.uniform(0.02, 0.2) * size, rng.uniform(0.004, 0.025) * size
    tone = rng.uniform(60, 200) + rng.uniform(-14, 14, 3)
    box, x, y = _patch(pixels, center, angle, length + width + 2)
    distance = np.hypot(np.maximum(np.abs(x) - length, 0), y) - width
    _paint(pixels[box], _coverage(distance), tone)


def _find_place(
    rng: np.random.Generator, size: int, places: list[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """Row, column and radius of the next shape; `None` where there is no room."""
    for attempt in range(200):
        # Later attempts are with smaller shapes.
        radius = size * (RADII[0] + (RADII[1] - RADII[0]) * rng.uniform() * (1 - attempt / 200))
        row, column = rng.uniform(radius, size - radius, 2)
        if all(np.hypot(row - other[0], column - other[1]) > LEAST_DISTANCE * (radius + other[2]) for other in places):
            return row, column, radius
    return None


def _draw_thing(
    rng: np.random.Generator,
    pixels: np.ndarray,
    label_map: np.ndarray,
    thing: Thing,
    place: tuple[float, float, float],
    index: int,
) -> None:
    row, column, radius = place
    box, x, y = _patch(pixels, (row, column), rng.uniform(-TILT, TILT), radius + 2)
    distance = radius * SIGNED_DISTANCES[thing.shape](x / radius, y / radius)
    color = np.clip(np.array(COLORS[thing.color]) + rng.normal(0, 7, 3), 0, 255)
    _paint(pixels[box], _coverage(distance), color)
    if thing.pattern != "plain":
        other = 0.5 * color if thing.color in LIGHT_COLORS else color + 0.55 * (255 - color)
        if thing.color == "black":
            other = color + 0.4 * (255 - color)  # or it would be taken for white
        # In pixels of a scene of 256, and tied to the shape's size, so that every shape has some of them.
        period = max(radius * rng.uniform(0.42, 0.6), 9 * len(pixels) / 256)
        angle, offset = rng.uniform(0, np.pi), rng.uniform(0, period, 2)
        along = x * np.cos(angle) + y * np.sin(angle) + offset[0]
        across = y * np.cos(angle) - x * np.sin(angle) + offset[1]
        along, across = (np.abs(position % period - period / 2) for position in (along, across))
        mark = along - 0.21 * period if thing.pattern == "striped" else np.hypot(along, across) - 0.3 * period
        _paint(pixels[box], _coverage(distance) * _coverage(mark), other)
    label_map[box][distance <= 0] = index


def _patch(
    pixels: np.ndarray, center: Sequence[float], angle: float, reach: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The rows and columns within reach of a place, and the coordinates there, turned by an angle."""
    rows, columns = (
        slice(max(0, int(middle - reach)), max(0, min(side, int(middle + reach) + 1)))
        for middle, side in zip(center, pixels.shape, strict=False)
    )
    down, right = np.mgrid[rows, columns].astype(np.float32)
    down, right = down + 0.5 - center[0], right + 0.5 - center[1]
    x = right * np.cos(angle) + down * np.sin(angle)
    return (rows, columns), x, down * np.cos(angle) - right * np.sin(angle)


def _coverage(distance: np.ndarray) -> np.ndarray:
    """How much of a pixel lies inside of a border that is so many pixels away."""
    return np.clip(0.5 - distance, 0, 1)


def _paint(pixels: np.ndarray, coverage: np.ndarray, color: np.ndarray) -> None:
    pixels += coverage[..., None] * (np.asarray(color, dtype=np.float32) - pixels)


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.92


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.74


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) * np.sqrt(0.75) - y / 2, y) - 0.5


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Folded into half of one of five rays, a star is the line from its tip to the notch.
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)
    radius = np.hypot(x, y)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    notch = 0.46 * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    normal = np.array([notch[1], 1 - notch[0]]) / np.hypot(notch[1], 1 - notch[0])
    return (along - 1) * normal[0] + across * normal[1]


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.68) - 0.27


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    short, long = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.maximum(short - 0.3, long - 0.92)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A square on its corner, with half a disc on each upper side.
    y = y - 0.1
    square = (np.abs(x) + np.abs(y)) / np.sqrt(2) - 0.5
    discs = np.hypot(np.abs(x) - np.sqrt(0.125), y + np.sqrt(0.125)) - 0.5
    return np.minimum(square, discs)


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.5, y))


# Distance to the border of each shape of radius 1, negative inside.
SIGNED_DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "heart": _heart,
    "moon": _moon,
}


__all__ = ["COLORS", "PATTERNS", "SHAPES", "THINGS", "Scene", "Thing", "draw_scene"]
