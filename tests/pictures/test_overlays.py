# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Overlays fit the photo, colour what they say, and hide nothing under the legend."""

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf.pictures import contours, label_colors, overlay, side_by_side


def stripes(height: int, width: int, number: int) -> np.ndarray:
    return np.broadcast_to(np.arange(width) * number // width, (height, width))


def gray(height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def test_overlay_without_legend_blends_each_class_with_its_color() -> None:
    picture = np.asarray(overlay(gray(30, 90), stripes(30, 90, 3), ["a", "b", "c"], opacity=0.5, legend=False))
    assert picture.shape == (30, 90, 3)
    for index, color in enumerate(label_colors(["a", "b", "c"]).astype(float)):
        np.testing.assert_allclose(picture[15, 30 * index + 15], color / 2 + 64, atol=1.5)
        # The border to the next class is opaque.
        np.testing.assert_array_equal(picture[15, 30 * index + (29 if index < 2 else 0)], color)


def test_the_width_of_edges_can_be_chosen() -> None:
    ids, (left, _) = stripes(30, 90, 2), label_colors(["a", "b"])
    for width in (0, 1, 5):
        picture = overlay(gray(30, 90), ids, ["a", "b"], opacity=0.5, legend=False, edge_width=width)
        assert (np.asarray(picture)[15, :45] == left).all(axis=1).sum() == width


def test_background_keeps_its_pixels_and_stays_out_of_the_legend() -> None:
    ids = np.array(stripes(40, 300, 3))
    ids[ids == 2] = 255
    picture = np.asarray(overlay(gray(40, 300), ids, ["a", "b"], background_id=255))
    assert (picture[:40, 200:] == 128).all()
    with_background = overlay(gray(40, 300), stripes(40, 300, 3), ["a", "b", "c"])
    assert with_background.height >= picture.shape[0]
    named = np.asarray(overlay(gray(40, 300), stripes(40, 300, 3), ["a", "b", "c"], background_id=1))
    assert (named[:40, 101:199] == 128).all() and (named[20, 50] != 128).any()


def test_the_legend_is_below_the_photo_and_has_the_colors_of_the_classes_in_it() -> None:
    ids = stripes(100, 200, 2) * 2  # classes 0 and 2; 1 is absent
    picture = np.asarray(overlay(gray(100, 200), ids, ["left", "absent", "right"]))
    without = np.asarray(overlay(gray(100, 200), ids, ["left", "absent", "right"], legend=False))
    np.testing.assert_array_equal(picture[:100], without)
    legend = picture[100:].reshape(-1, 3)
    shown = [(legend == color).all(axis=1).sum() for color in label_colors(["left", "absent", "right"])]
    assert shown[0] > 50 and shown[1] == 0 and shown[2] > 50


@pytest.mark.parametrize("size", [(1, 1), (32, 48), (4000, 10), (10, 4000), (600, 800)])
@pytest.mark.parametrize("number", [1, 10, 60])
def test_any_size_and_number_of_labels(size: tuple[int, int], number: int) -> None:
    labels = [[f"class {index}", "synonym with a long name " * 5] for index in range(number)]
    for draw in (overlay, contours):
        picture = draw(gray(*size), stripes(*size, number), labels)
        assert picture.mode == "RGB"
        assert picture.width == max(size[1], 160) and picture.height > size[0]
    assert side_by_side(gray(*size), stripes(*size, number), labels).height > size[0]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I", "F"])
def test_photos_of_any_mode(mode: str) -> None:
    photo = Image.new("RGB", (30, 20), (153, 153, 153)).convert(mode)
    picture = overlay(photo, stripes(20, 30, 1), ["a"], opacity=0, legend=False)
    assert np.abs(np.asarray(picture).astype(int) - 153).max() <= 1


def test_transparent_and_16_bit_photos() -> None:
    clear = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    assert overlay(clear, stripes(20, 30, 1), ["a"], opacity=0, legend=False).getpixel((5, 5)) == (255, 255, 255)
    deep = Image.fromarray(np.full((20, 30), 128 * 257, dtype=np.uint16))
    assert overlay(deep, stripes(20, 30, 1), ["a"], opacity=0, legend=False).getpixel((5, 5)) == (128, 128, 128)


def test_tensors_and_arrays_of_any_integer_type_give_the_same_picture() -> None:
    ids = stripes(20, 30, 2)
    expected = overlay(gray(20, 30), ids, ["a", "b"]).tobytes()
    for same in (torch.from_numpy(ids.copy()), torch.from_numpy(ids.astype(np.int32)), ids.astype(np.uint8)):
        assert overlay(gray(20, 30), same, ["a", "b"]).tobytes() == expected


@pytest.mark.parametrize("name", ["Éléphant", "кошка", "猫", "🐈", ""])
def test_names_in_any_script_are_drawn(name: str) -> None:
    assert overlay(gray(20, 200), stripes(20, 200, 1), [name]).height > 20


def test_photo_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(30, 20\).*height 20 and width 30.*target_sizes"):
        overlay(gray(20, 30), stripes(30, 20, 1), ["a"])
    with pytest.raises(ValueError, match="ids from 0 to 2, but there are 2 `labels`"):
        overlay(gray(20, 30), stripes(20, 30, 3), ["a", "b"])
    with pytest.raises(ValueError, match="ids from -1 to 1"):
        overlay(gray(20, 30), stripes(20, 30, 3) - 1, ["a", "b"])
    with pytest.raises(ValueError, match="`opacity` must be between 0 and 1, got 55"):
        overlay(gray(20, 30), stripes(20, 30, 1), ["a"], opacity=55)


def test_contours_leave_the_photo_as_it_is_beside_the_borders() -> None:
    labels = ["a", "b"]
    picture = np.asarray(contours(gray(60, 90), stripes(60, 90, 2), labels, legend=False))
    assert (picture[:, :40] == 128).all() and (picture[:, 50:] == 128).all()
    left, right = label_colors(labels)
    # From left to right: the class's colour, a dark line, the other class's colour.
    np.testing.assert_array_equal(picture[30, 41:44], np.tile(left, (3, 1)))
    assert picture[30, 44:46].max() < 40
    np.testing.assert_array_equal(picture[30, 46:49], np.tile(right, (3, 1)))


def test_contours_around_background_are_on_the_side_of_the_class() -> None:
    ids = np.where(stripes(60, 90, 2) == 1, -1, 0)
    picture = np.asarray(contours(gray(60, 90), ids, ["a"], legend=False, background_id=-1))
    assert (picture[:, 46:] == 128).all() and (picture[30, 42] == label_colors(["a"])[0]).all()


@pytest.mark.parametrize(("height", "width", "place"), [(60, 90, (0, 92)), (40, 90, (42, 0))])
def test_side_by_side_has_the_photo_and_its_overlay(height: int, width: int, place: tuple[int, int]) -> None:
    ids = stripes(height, width, 2)
    picture = np.asarray(side_by_side(gray(height, width), ids, ["a", "b"]))
    # Narrow sheets are centred above their legend.
    margin = max(0, 160 - width) // 2 if place[0] else 0
    assert (picture[:height, margin : margin + width] == 128).all()
    top, left = place
    expected = np.asarray(overlay(gray(height, width), ids, ["a", "b"], legend=False))
    np.testing.assert_array_equal(picture[top : top + height, margin + left : margin + left + width], expected)
    assert picture.shape[0] > top + height
