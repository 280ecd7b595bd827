# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Colours that all kinds of eyes tell apart, and that stay with a label."""

import colorsys

import numpy as np
import pytest

from catseg_hf import load_vocabulary
from catseg_hf.pictures import class_colors, label_colors, perceived_colors


@pytest.mark.parametrize(("number", "least"), [(6, 0.07), (12, 0.07), (20, 0.06), (60, 0.03)])
def test_colors_differ_for_every_kind_of_eyes(number: int, least: float) -> None:
    perceived = perceived_colors(class_colors(number))
    distance = np.linalg.norm(perceived[:, None] - perceived[None], axis=-1)
    distance[np.arange(number), np.arange(number)] = np.inf
    assert distance.min() > least


def test_perceived_colors_match_published_values() -> None:
    normal = perceived_colors(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]]))[:, 0]
    expected = [[1.0, 0.0, 0.0], [0.628, 0.225, 0.126], [0.452, -0.032, -0.312]]
    np.testing.assert_allclose(normal, expected, atol=1e-3)


def test_no_color_is_lost_in_the_dark_or_in_the_light() -> None:
    lightness = perceived_colors(class_colors(300))[:, 0, 0]
    assert lightness.min() >= 0.5 and lightness.max() < 0.92


@pytest.mark.parametrize("number", [0, 1, 6, 64, 65, 200])
def test_colors_do_not_depend_on_how_many_there_are(number: int) -> None:
    colors = class_colors(number)
    assert colors.shape == (number, 3) and colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, class_colors(300)[:number])


def test_a_label_keeps_its_color_in_every_vocabulary() -> None:
    alone = label_colors(["cat"])[0]
    for labels in (["cat", "dog"], ["dog", "cat"], ["tree", "road", ["Cat ", "kitten"]]):
        index = next(index for index, label in enumerate(labels) if "at" in str(label).lower())
        np.testing.assert_array_equal(label_colors(labels)[index], alone)
    names = load_vocabulary("ade20k_150")
    many = label_colors(names)
    np.testing.assert_array_equal(label_colors(names[:30]), many[:30])  # appended labels change nothing

    random = np.random.default_rng(0)
    kept = []
    for _ in range(100):
        five = random.choice(names, 5, replace=False).tolist()
        own = [label_colors([name])[0] for name in five]
        kept.append((label_colors(five) == own).all(axis=1).mean())
    assert np.mean(kept) > 0.85


@pytest.mark.parametrize("name", ["ade20k_847", "pascal_context_459"])
def test_no_two_labels_share_a_color(name: str) -> None:
    colors = label_colors(load_vocabulary(name))
    assert len(np.unique(colors, axis=0)) == len(colors)
    assert label_colors([]).shape == (0, 3)


def test_everyday_words_have_fitting_colors_far_from_each_other() -> None:
    colors = label_colors(["sky", "grass", "tree", "cat", "dog", "person", "road", "car"])
    hues = [colorsys.rgb_to_hsv(*color / 255)[0] * 360 for color in colors]
    assert 190 < hues[0] < 215 and 80 < hues[1] < 170 and 80 < hues[2] < 170
    perceived = perceived_colors(colors)
    distance = np.linalg.norm(perceived[:, None] - perceived[None], axis=-1) + np.eye(8)[..., None]
    assert distance.min() > 0.07
