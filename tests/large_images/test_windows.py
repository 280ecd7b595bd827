# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows cover an image evenly, and their weights hide where they end."""

import pytest
import torch

from catseg_hf.image_processing_catseg import CatSegImageProcessorPil
from catseg_hf.large_images.windows import WindowAxis, model_side


@pytest.mark.parametrize("length", [1, 15, 64, 65, 100, 127, 128, 129, 1000])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_windows_cover_the_image_and_their_weights_add_up_to_one(length: int, overlap: float) -> None:
    axis = WindowAxis(length, 64, overlap)
    assert axis.side == min(64, length) and len(axis) == len(axis.starts) == len(axis.weights)
    total, number = torch.zeros(length), torch.zeros(length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + axis.side] += weights
        number[start : start + axis.side] += 1
    assert axis.starts[0] == 0 and axis.starts[-1] + axis.side == length
    torch.testing.assert_close(total, torch.ones(length))
    assert (number >= 1).all() and (total[number == 1] == 1).all()  # exactly one where a window is alone
    distances = [second - first for first, second in zip(axis.starts, axis.starts[1:], strict=False)]
    assert all(0 < distance <= max(1, 64 * (1 - overlap)) for distance in distances)
    assert axis.ends == [*axis.starts[1:], length]


def test_weights_fall_to_nothing_where_a_window_ends_and_another_goes_on() -> None:
    axis = WindowAxis(1000, 100, 0.25)
    first = axis.weights[0]
    assert first[0] == 1 and first[-1] < 0.01
    assert first.diff().abs().max() < 0.1  # no jump anywhere


def test_the_model_sees_a_window_pixel_by_pixel() -> None:
    assert model_side(CatSegImageProcessorPil()) == 640
    assert model_side(CatSegImageProcessorPil(do_squash=False, shortest_edge=512)) == 512
    assert model_side(CatSegImageProcessorPil(do_sliding_window=False, image_size=192)) == 192
