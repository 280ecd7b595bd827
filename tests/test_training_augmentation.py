# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.

import colorsys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from catseg_hf.training import Recipe, augment
from catseg_hf.training.augmentation import jitter_colors, random_crop, random_size, resize


class Dice:
    """A generator whose throws are known: `random()` in order, and fixed `uniform` and `integers`."""

    def __init__(self, throws: list[float], uniform: float = 0.0, integers: int = 0) -> None:
        self.throws, self.value, self.whole = iter(throws), uniform, integers

    def random(self) -> float:
        return next(self.throws)

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.value <= high
        return self.value

    def integers(self, low: int, high: int) -> int:
        assert low <= self.whole < high
        return self.whole


YES, NO = 0.0, 0.9
COLORS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and labels that both say where each pixel was."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8), rows * 1000 + columns


def test_labels_are_resized_as_detectron2_resizes_them() -> None:
    _, labels = coordinates(37, 53)
    pixels = np.zeros((37, 53, 3), np.uint8)
    for size in ((24, 34), (74, 106), (37, 53), (40, 90)):
        resized = resize(pixels, labels, *size)
        expected = F.interpolate(torch.tensor(labels)[None, None].double(), size=size, mode="nearest")[0, 0]
        assert resized[0].shape == (*size, 3)
        assert np.array_equal(resized[1], expected.numpy())


def test_crop_cuts_image_and_labels_at_one_place_and_reaches_every_place() -> None:
    pixels, labels = coordinates(5, 7)
    generator, corners = np.random.default_rng(0), set()
    for _ in range(200):
        image, ids = random_crop(pixels, labels, 4, generator)
        assert ids.shape == (4, 4) and np.array_equal(image[..., 0].astype(int) * 1000 + image[..., 1], ids)
        corners.add(int(ids[0, 0]))
    assert corners == {row * 1000 + column for row in range(2) for column in range(4)}


def test_crops_of_mostly_one_class_are_drawn_anew() -> None:
    labels = np.zeros((8, 200), dtype=np.int64)
    labels[:, 100:104] = 1
    labels[:, :50] = 255
    pixels = np.zeros((8, 200, 3), np.uint8)

    def share_of_mixed_crops(limit: float) -> float:
        generator = np.random.default_rng(1)
        crops = [random_crop(pixels, labels, 8, generator, max_class_share=limit)[1] for _ in range(400)]
        return float(np.mean([(crop == 1).mean() > 0.25 for crop in crops]))

    chance = share_of_mixed_crops(1.0)
    assert 0 < chance < 0.06
    # Eleven draws instead of one.
    assert share_of_mixed_crops(0.75) == pytest.approx(1 - (1 - chance) ** 11, abs=0.08)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (200, 2000)])
def test_random_size_follows_mmsegmentation(height: int, width: int) -> None:
    scales = []
    for value in (0.5, 1.0, 2.0):
        new_height, new_width = random_size(height, width, Dice([], uniform=value))
        assert new_height / new_width == pytest.approx(height / width, rel=0.01)
        assert min(new_height, new_width) <= 512 * value and max(new_height, new_width) <= 2048 * value
        scales.append(new_height / height)
    assert scales[1] == pytest.approx(min(2048 / max(height, width), 512 / min(height, width)), rel=0.01)
    assert scales[2] == pytest.approx(4 * scales[0], rel=0.02)


def test_brightness_and_contrast_are_cut_off_to_whole_numbers() -> None:
    bright = jitter_colors(COLORS, Dice([YES, NO, NO, NO, NO], uniform=31.7))
    assert np.array_equal(bright, np.clip(COLORS + np.float32(31.7), 0, 255).astype(np.uint8))
    for contrast_first in (YES, NO):
        contrast = jitter_colors(COLORS, Dice([NO, contrast_first, YES, NO, NO], uniform=1.5))
        assert np.array_equal(contrast, np.clip(COLORS * np.float32(1.5), 0, 255).astype(np.uint8))
    assert np.array_equal(jitter_colors(COLORS, Dice([NO] * 5)), COLORS)


@pytest.mark.parametrize(("saturation", "hue"), [(0.5, None), (1.5, None), (None, 18), (None, -18), (1.2, 7)])
def test_hue_and_saturation(saturation: float | None, hue: int | None) -> None:
    throws = [NO, NO, NO, NO if saturation is None else YES, NO if hue is None else YES]
    changed = jitter_colors(COLORS, Dice(throws, uniform=saturation or 0.0, integers=hue or 0))
    for color, result in zip(COLORS.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(color / 255))
        expected = colorsys.hsv_to_rgb((h + (hue or 0) / 180) % 1, min(1.0, s * (saturation or 1.0)), v)
        # Eight bits for hue and saturation, there and back.
        assert result == pytest.approx(np.array(expected) * 255, abs=10)
    assert not np.array_equal(changed, COLORS)


def test_contrast_comes_before_or_after() -> None:
    color = np.full((1, 1, 3), (250, 100, 50), dtype=np.uint8)
    first = jitter_colors(color, Dice([NO, YES, YES, NO, YES], uniform=1.5, integers=18))
    last = jitter_colors(color, Dice([NO, NO, YES, NO, YES], uniform=1.5, integers=18))
    assert not np.array_equal(first, last)


def test_every_change_happens_half_of_the_time() -> None:
    gray = np.full((4, 4, 3), 100, dtype=np.uint8)  # without a hue: only brightness and contrast change it
    generator = np.random.default_rng(0)
    unchanged = np.mean([np.array_equal(jitter_colors(gray, generator), gray) for _ in range(2000)])
    assert unchanged == pytest.approx(0.25, abs=0.04)
    colored = np.full((4, 4, 3), (200, 100, 50), dtype=np.uint8)
    unchanged = np.mean([np.array_equal(jitter_colors(colored, generator), colored) for _ in range(2000)])
    assert unchanged == pytest.approx(1 / 16, abs=0.03)


def test_the_whole_augmentation() -> None:
    # An image of left and right: 60 x 100 pixels become 64 x 107, of which a crop of 64 x 64 is taken.
    labels = np.zeros((60, 100), dtype=np.int32)
    labels[:, 50:] = 1
    image = Image.fromarray(np.where(labels == 1, 255, 0).astype(np.uint8)).convert("RGB")
    recipe = Recipe(crop_size=64, jitter_colors=False)
    mirrored = 0
    for seed in range(40):
        pixels, ids = augment(image, labels, recipe, np.random.default_rng(seed), ignore_index=255)
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 and ids.dtype == np.int64
        # Image and labels are mirrored together: they agree but at the edge.
        assert ((pixels[..., 0] > 127) != (ids == 1)).mean() < 0.05
        mirrored += int(ids[0, 0] > ids[0, -1])
    assert 10 <= mirrored <= 30
    again = [augment(image, labels, Recipe(crop_size=64), np.random.default_rng(7), ignore_index=255) for _ in range(2)]
    assert all(np.array_equal(first, second) for first, second in zip(*again, strict=True))


def test_small_images_are_padded() -> None:
    # At most 1333 pixels long, this image stays narrower than the crop.
    image = Image.new("L", (2000, 20), 50)
    labels = np.zeros((20, 2000), dtype=np.int32)
    recipe = Recipe(crop_size=64, jitter_colors=False)
    pixels, ids = augment(image, labels, recipe, np.random.default_rng(0), ignore_index=65535)
    assert (pixels[:13] == 50).all() and (ids[:13] == 0).all()
    assert (pixels[13:] == 128).all() and (ids[13:] == 65535).all()
    pixels, _ = augment(
        image, labels, Recipe.mmseg(crop_size=64, resize="none"), np.random.default_rng(0), ignore_index=255
    )
    assert (pixels[20:] == 0).all()
