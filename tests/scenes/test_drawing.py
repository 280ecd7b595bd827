# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Scenes show what they say, and say what they show."""

import numpy as np
import pytest

from catseg_hf.scenes import COLORS, PATTERNS, SHAPES, THINGS, Thing, draw_scene


# Of the square around a shape of radius 1, worked out by hand.
AREAS = {
    "circle": np.pi * 0.92**2,
    "square": (2 * 0.74) ** 2,
    "triangle": 3 * np.sqrt(3) / 4,
    "star": 10 * 0.5 * 0.46 * np.sin(np.pi / 5),
    "ring": np.pi * (0.95**2 - 0.41**2),
    "cross": 2 * (2 * 0.92) * (2 * 0.3) - (2 * 0.3) ** 2,
    "heart": 1 + np.pi * 0.5**2,
}


def test_a_seed_draws_one_scene_and_another_seed_another() -> None:
    scene, same, other = draw_scene(5), draw_scene(5), draw_scene(6)
    assert np.array_equal(scene.image, same.image) and np.array_equal(scene.label_map, same.label_map)
    assert scene.things == same.things and 3 <= len(scene.things) <= 7
    assert not np.array_equal(scene.image, other.image)
    assert scene.image.mode == "RGB" and scene.image.size == (256, 256) == scene.label_map.shape


@pytest.mark.parametrize("size", [64, 256, 500])
def test_nine_things_fit_and_all_can_be_seen(size: int) -> None:
    for seed in range(10):
        chosen = np.random.default_rng(seed).choice(len(THINGS), 9, replace=False)
        scene = draw_scene(seed, size, [THINGS[index] for index in chosen])
        assert [THINGS.index(thing) for thing in scene.things] == chosen.tolist()
        shares = np.bincount(scene.label_map[scene.label_map >= 0], minlength=9) / size**2
        assert shares.min() > 0.003


@pytest.mark.parametrize("color", COLORS)
def test_plain_things_have_their_color_and_marks_are_of_another(color: str) -> None:
    middles = []
    for pattern in PATTERNS:
        scene = draw_scene(1, 256, [Thing(pattern, color, "circle")])
        pixels = np.asarray(scene.image, dtype=float)[scene.label_map == 0]
        distance = np.abs(pixels - COLORS[color]).max(axis=1)
        middles.append((distance < 45).mean())
    assert middles[0] > 0.97
    assert all(0.45 < middle < 0.9 for middle in middles[1:])


@pytest.mark.parametrize("shape", AREAS)
def test_shapes_have_the_area_of_their_geometry(shape: str) -> None:
    scene = draw_scene(2, 1024, [Thing("plain", "red", shape)])
    circle = draw_scene(2, 1024, [Thing("plain", "red", "circle")])  # of the same place and radius
    ratio = (scene.label_map == 0).sum() / (circle.label_map == 0).sum()
    assert ratio == pytest.approx(AREAS[shape] / AREAS["circle"], rel=0.01)


def test_every_shape_is_of_its_own() -> None:
    maps = [draw_scene(3, 128, [Thing("plain", "red", shape)]).label_map == 0 for shape in SHAPES]
    for index, one in enumerate(maps):
        for other in maps[index + 1 :]:
            assert (one & other).sum() / (one | other).sum() < 0.9


def test_impossible_scenes_are_refused() -> None:
    star = Thing("plain", "red", "star")
    with pytest.raises(ValueError, match="`size=63` is too small"):
        draw_scene(0, 63)
    with pytest.raises(ValueError, match="'pink'.* is unknown: its parts are from"):
        draw_scene(0, things=[star, Thing("plain", "pink", "star")])
    with pytest.raises(ValueError, match="has one twice: .*Leave it out"):
        draw_scene(0, things=[star, star])
