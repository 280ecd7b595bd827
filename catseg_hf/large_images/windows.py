# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where windows lie over a large image, and how much each of them counts at each place."""

import math
from typing import Any

import torch


def model_side(image_processor: Any) -> int:
    """Side of the square photo that the model sees pixel by pixel: 640 for the released models.

    It is what a photo is squashed to before it is cut into views; in the plain mode, in which a photo is one view, the
    side of that.
    """
    if not image_processor.do_sliding_window or image_processor.pad_to_multiple is not None:
        return image_processor.image_size
    size = image_processor.size
    return min(size.height, size.width) if image_processor.do_squash else image_processor.shortest_edge


class WindowAxis:
    """Windows along one axis of an image, evenly spaced from end to end; an image that is shorter is one window.

    They have at least a share `overlap`, from 0 to 0.9, in common with the next.
    """

    def __init__(self, length: int, side: int, overlap: float) -> None:
        self.side = min(side, length)
        most = max(1, int(self.side * (1 - overlap)))  # distance between windows
        number = 1 + math.ceil((length - self.side) / most)
        self.starts = [(length - self.side) * index // max(number - 1, 1) for index in range(number)]
        # For each window, the first pixel that a later window touches.
        self.ends = [*self.starts[1:], length]
        # (windows, side): how much each counts at each of its pixels. Weights rise and fall smoothly, and add up to one
        # everywhere; where a window is alone, its is exactly one.
        profile = ((torch.arange(self.side, dtype=torch.float64) + 0.5) * (math.pi / self.side)).sin() ** 2
        total = torch.zeros(length, dtype=torch.float64)
        for start in self.starts:
            total[start : start + self.side] += profile
        weights = [profile / total[start : start + self.side] for start in self.starts]
        self.weights = torch.stack(weights).float()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def most_carried(self) -> int:
        """The largest number of pixels that a window shares with later ones."""
        return max(start + self.side - end for start, end in zip(self.starts, self.ends, strict=True))
