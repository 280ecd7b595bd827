# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label files that mean something else than they are read as."""

import numpy as np

from catseg_hf.datasets.segmentation import SegmentationDataset


def refuse_binary_masks(dataset: SegmentationDataset, limit: int | None = None) -> None:
    """Refuses black and white masks of two classes, whose white, 255, would be read as "not scored".

    Reads label files until one has the second class, which is usually the first one.

    Args:
        dataset ([`SegmentationDataset`]): Images and labels.
        limit (`int`, *optional*): How many of the first samples are used.

    Raises:
        ValueError: If the data set has two classes, no pixel is of the second one, and some pixels are not scored.
    """
    if dataset.num_classes != 2:
        return
    num_pixels = num_ignored = 0
    for index in range(len(dataset) if limit is None else min(limit, len(dataset))):
        try:
            labels = dataset[index].labels
        except (OSError, ValueError):  # whoever uses the sample will say so
            continue
        if (labels == 1).any():
            return
        num_pixels += labels.size
        num_ignored += int(np.count_nonzero(labels == dataset.ignore_index))
    if num_ignored:
        raise ValueError(
            f"No pixel of {dataset.name} is {dataset.class_names[1]!r}, and {num_ignored / num_pixels:.1%} have the "
            "value of pixels that are not scored. If these are masks of 0 and 255, and 255 is the second class, say "
            "so: `--binary-masks` at the command line, `binary_masks=True` in Python."
        )


__all__ = ["refuse_binary_masks"]
