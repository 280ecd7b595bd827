# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label maps that are hard to make annotations of."""

import numpy as np
import torch


NAMES = [f"class {index}" for index in range(60)]


def blobs(height: int, width: int, num_classes: int, cell: int = 8) -> np.ndarray:
    """Round regions with borders of any shape, as a segmentation has; a tenth of the pixels have no class."""
    noise = torch.randn(num_classes, 2 + height // cell, 2 + width // cell, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise[None], (height, width), mode="bicubic")[0]
    best, ids = smooth.max(dim=0)
    return torch.where(best < best.quantile(0.1), -1, ids).numpy()


def nested() -> np.ndarray:
    """A part with two holes, one with a part in it that has a hole itself, and single pixels that touch at corners."""
    ids = np.zeros((24, 30), dtype=int)
    ids[2:16, 2:14] = 1
    ids[4:14, 4:12] = 2
    ids[6:12, 6:10] = 1
    ids[8, 8] = -1
    ids[3:9, 18:26] = -1
    for place in ((18, 5), (19, 6), (20, 5), (23, 29), (0, 29)):
        ids[place] = 3
    return ids


MAPS = {
    "nested": nested(),
    "blobs": blobs(90, 120, 5),
    "60 classes": blobs(80, 100, 60),
    "noise": np.random.default_rng(0).integers(-1, 60, (40, 50)),
    "two classes of noise": np.random.default_rng(1).integers(0, 2, (37, 23)),
    "nothing": np.full((10, 12), -1),
    "one class": np.zeros((10, 12), dtype=int),
    "one pixel": np.full((1, 1), 7),
    "one pixel of many": np.pad(np.full((1, 1), 7), 5, constant_values=-1),
    "one row": np.arange(9)[None].repeat(3, axis=1) % 5 - 1,
}


__all__ = ["MAPS", "NAMES", "blobs", "nested"]
