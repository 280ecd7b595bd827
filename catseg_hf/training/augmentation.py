# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The random changes of training images, as plain functions of an image, its labels and a random generator.

Sources: detectron2's `ResizeShortestEdge`, `RandomCrop` and PointRend's `ColorAugSSDTransform`, as CAT-Seg's
`mask_former_semantic_dataset_mapper.py` strings them together; MMSegmentation's `RandomResize`, `RandomCrop` and
`PhotoMetricDistortion`, whose rule for colours is the same.
"""

import numpy as np
import PIL.Image

from catseg_hf.image_processing_catseg import resized_size
from catseg_hf.image_reading_catseg import MAX_PIXELS, read_image
from catseg_hf.training.recipes import Recipe


LONGEST_EDGE = 1333
RANDOM_SCALE_SIZE = (512, 2048)  # shortest and longest edge at a scale of 1
RANDOM_SCALES = (0.5, 2.0)
CROP_TRIALS = 10
BRIGHTNESS = 32.0  # of 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18  # of 180, which stand for the full circle
PILLOW_HUES = 255


def augment(
    image: PIL.Image.Image, labels: np.ndarray, recipe: Recipe, generator: np.random.Generator, *, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Makes a training crop: resized, cropped, its colours changed, mirrored or not, and padded.

    Args:
        image (`PIL.Image.Image`): The image, of any mode.
        labels (`np.ndarray` of shape `(height, width)`): Class id of each pixel.
        recipe ([`Recipe`]): What to do.
        generator (`np.random.Generator`): Where all chance comes from.
        ignore_index (`int`): Label of the pixels that padding adds and that are not trained on.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: uint8 RGB of shape `(crop_size, crop_size, 3)`, and int64 labels of shape
        `(crop_size, crop_size)`.

    Example:

    ```python
    >>> from catseg_hf.training import augment

    >>> sample = dataset[0]
    >>> crop, labels = augment(sample.image, sample.labels, recipe, np.random.default_rng(0), ignore_index=255)
    >>> crop.shape, labels.shape
    ((64, 64, 3), (64, 64))
    ```
    """
    pixels = read_image(image, None, True, MAX_PIXELS)[0]
    if recipe.resize == "shortest_edge":
        pixels, labels = resize(pixels, labels, *resized_size(*labels.shape, recipe.crop_size, LONGEST_EDGE))
    elif recipe.resize == "random_scale":
        pixels, labels = resize(pixels, labels, *random_size(*labels.shape, generator))
    pixels, labels = random_crop(
        pixels,
        labels,
        recipe.crop_size,
        generator,
        max_class_share=recipe.max_class_share,
        ignore_index=ignore_index,
    )
    if recipe.jitter_colors:
        pixels = jitter_colors(pixels, generator)
    if recipe.flip and generator.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    return pad(pixels, labels, recipe.crop_size, recipe.image_padding, ignore_index)


def resize(pixels: np.ndarray, labels: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Resizes an image (Pillow, bilinear) and its labels (the pixel at or before the place, as torch's `nearest`).

    Args:
        pixels (`np.ndarray` of shape `(H, W, 3)`): uint8 image.
        labels (`np.ndarray` of shape `(H, W)`): Class ids.
        height, width (`int`): The new size.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Both, of the new size.
    """
    old_height, old_width = labels.shape
    resized = PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BILINEAR)
    rows = np.arange(height) * old_height // height
    columns = np.arange(width) * old_width // width
    return np.asarray(resized), labels[rows[:, None], columns]


def random_size(height: int, width: int, generator: np.random.Generator) -> tuple[int, int]:
    """Height and width that fit into 512 x 2048 pixels, in either orientation, times a random number from 0.5 to 2.

    Args:
        height, width (`int`): Size of the image.
        generator (`np.random.Generator`): Draws the number.

    Returns:
        `tuple[int, int]`: In the same proportion.
    """
    scale = generator.uniform(*RANDOM_SCALES)
    shortest, longest = (int(edge * scale) for edge in RANDOM_SCALE_SIZE)
    factor = min(longest / max(height, width), shortest / min(height, width))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def random_crop(
    pixels: np.ndarray,
    labels: np.ndarray,
    size: int,
    generator: np.random.Generator,
    *,
    max_class_share: float = 1.0,
    ignore_index: int = 255,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts out a square, or all there is where the image is smaller.

    Args:
        pixels (`np.ndarray` of shape `(H, W, 3)`): uint8 image.
        labels (`np.ndarray` of shape `(H, W)`): Class ids.
        size (`int`): Side of the square.
        generator (`np.random.Generator`): Draws the place.
        max_class_share (`float`, *optional*, defaults to 1.0):
            If below 1, places are drawn anew, ten times at most, until there are two classes or more and none has this
            share of the labelled pixels.
        ignore_index (`int`, *optional*, defaults to 255): Label of pixels that do not count there.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Views of both.
    """
    trials = CROP_TRIALS + 1 if max_class_share < 1 else 1
    for _ in range(trials):
        top, left = (int(generator.integers(0, max(side - size, 0) + 1)) for side in labels.shape)
        window = slice(top, top + size), slice(left, left + size)
        if trials > 1:
            counts = np.unique(labels[window][labels[window] != ignore_index], return_counts=True)[1]
            if len(counts) > 1 and counts.max() / counts.sum() < max_class_share:
                break
    return pixels[window], labels[window]


def jitter_colors(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue, each of every other image.

    Brightness by up to 32 of 255, contrast and saturation by 0.5 to 1.5, hue by up to 18 of 180. Contrast comes before
    or after saturation and hue. Every change ends in whole numbers from 0 to 255, cut off as in detectron2. Hue and
    saturation are Pillow's.

    Args:
        pixels (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB image.
        generator (`np.random.Generator`): Draws all numbers.

    Returns:
        `np.ndarray`: uint8 of the same shape.
    """

    def chance() -> bool:
        return bool(generator.random() < 0.5)

    if chance():
        pixels = _to_uint8(pixels + np.float32(generator.uniform(-BRIGHTNESS, BRIGHTNESS)))
    contrast_first = chance()
    contrast = np.float32(generator.uniform(*CONTRAST)) if chance() else None
    saturation = np.float32(generator.uniform(*SATURATION)) if chance() else None
    hue = int(generator.integers(-HUE, HUE + 1)) if chance() else None
    if contrast is not None and contrast_first:
        pixels = _to_uint8(pixels * contrast)
    if saturation is not None or hue is not None:
        pixels = _change_hue_and_saturation(pixels, saturation, hue)
    if contrast is not None and not contrast_first:
        pixels = _to_uint8(pixels * contrast)
    return pixels


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def _change_hue_and_saturation(pixels: np.ndarray, saturation: float | None, hue: int | None) -> np.ndarray:
    hsv = np.array(PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("HSV"))
    if saturation is not None:
        hsv[..., 1] = _to_uint8(hsv[..., 1] * np.float32(saturation))
    if hue is not None:
        # Pillow's 255 is the full circle again.
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(hue / 180 * PILLOW_HUES)) % PILLOW_HUES
    return np.asarray(PIL.Image.fromarray(hsv, mode="HSV").convert("RGB"))


def pad(
    pixels: np.ndarray, labels: np.ndarray, size: int, image_padding: int, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fills an image and its labels up to a square, right and below.

    Args:
        pixels (`np.ndarray` of shape `(H, W, 3)`): uint8 image, not larger than the square.
        labels (`np.ndarray` of shape `(H, W)`): Class ids.
        size (`int`): Side of the square.
        image_padding, ignore_index (`int`): What the image and the labels are filled with.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: uint8 of shape `(size, size, 3)` and int64 of shape `(size, size)`, both with
        memory of their own.
    """
    height, width = labels.shape
    padded_pixels = np.full((size, size, 3), image_padding, dtype=np.uint8)
    padded_labels = np.full((size, size), ignore_index, dtype=np.int64)
    padded_pixels[:height, :width] = pixels
    padded_labels[:height, :width] = labels
    return padded_pixels, padded_labels


__all__ = ["augment", "jitter_colors", "pad", "random_crop", "random_size", "resize"]
