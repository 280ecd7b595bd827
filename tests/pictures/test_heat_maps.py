# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Heat maps get lighter with the score, and say by their scale what the colours stand for."""

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf.pictures import heat_map, heat_maps


def gray(height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


@pytest.mark.parametrize("size", [(1, 1), (32, 48), (4000, 10), (10, 4000), (600, 800)])
def test_heat_maps_of_any_size_and_with_a_long_label(size: tuple[int, int]) -> None:
    picture = heat_map(gray(*size), np.zeros(size), ["class 0", "synonym with a long name " * 5])
    assert picture.width == max(size[1], 160) and picture.height > size[0]


def test_heat_maps_get_lighter_with_the_score() -> None:
    scores = np.broadcast_to(np.linspace(0, 1, 300), (200, 300))
    picture = np.asarray(heat_map(gray(200, 300), torch.from_numpy(scores.copy()), "cat").convert("L")).astype(int)
    assert (np.diff(picture[100, :300]) >= -1).all() and picture[100, 299] > picture[100, 0] + 80
    # Scores of a smaller map are enlarged, and those beyond the limits drawn like the ends.
    small = np.asarray(heat_map(gray(200, 300), scores[:50, ::6] * 2, "cat", limits=(0, 2)).convert("L")).astype(int)
    assert np.abs(small[100, 10:290] - picture[100, 10:290]).max() < 6
    high = heat_map(gray(200, 300), scores + 5, "cat")
    assert high.getpixel((10, 10)) == high.getpixel((290, 190))
    by_themselves = heat_map(gray(200, 300), 7 * scores - 3, "cat", limits=None)
    assert np.abs(np.asarray(by_themselves.convert("L")).astype(int)[100, :300] - picture[100, :300]).max() <= 2


def test_the_scale_of_a_heat_map_has_its_colors_and_its_limits() -> None:
    plain = np.asarray(heat_map(gray(100, 300), np.zeros((100, 300)), ""))
    named = np.asarray(heat_map(gray(100, 300), np.zeros((100, 300)), ["cat", "kitten"]))
    legend = plain[100:].reshape(-1, 3)
    for color in ((68, 1, 84), (253, 231, 37)):
        assert (np.abs(legend.astype(int) - color).max(axis=1) <= 3).any()
    assert (plain[:100] == named[:100]).all() and (plain[100:] != named[100:]).any()
    constant = heat_map(gray(100, 300), np.full((100, 300), 3.0), "", limits=None)
    assert constant.size == (300, plain.shape[0])


@pytest.mark.parametrize("number", [1, 10, 60])
def test_a_sheet_of_heat_maps_has_one_for_each_class(number: int) -> None:
    scores = torch.linspace(0, 1, number)[:, None, None].expand(number, 30, 40)
    sheet = heat_maps(gray(1500, 2000), scores, [f"class {index}" for index in range(number)])
    panel = heat_map(gray(360, 480), np.zeros((3, 4)), "x")
    columns, rows = round(sheet.width / panel.width), round(sheet.height / panel.height)
    assert columns * rows >= number > columns * (rows - 1) and columns <= 2 * rows <= 4 * columns
    single = heat_map(gray(360, 480), np.zeros((3, 4)), "class 0")
    np.testing.assert_array_equal(np.asarray(sheet)[:360, :480], np.asarray(single)[:360])


def test_scores_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of shape \(height, width\), got \(2, 20, 30\)"):
        heat_map(gray(20, 30), np.zeros((2, 20, 30)))
    with pytest.raises(ValueError, match="`scores` must be finite"):
        heat_map(gray(20, 30), np.full((20, 30), np.nan))
    with pytest.raises(ValueError, match=r"two rising numbers, such as \(0, 1\), got \(1, 0\)"):
        heat_map(gray(20, 30), np.zeros((20, 30)), limits=(1, 0))
    with pytest.raises(ValueError, match="holds 2 maps for 1 `labels`"):
        heat_maps(gray(20, 30), np.zeros((2, 20, 30)), ["a"])
