# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels that are unusual, and may mean something else than they are read as."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np

from catseg_hf.datasets.label_values import NamedValues
from catseg_hf.datasets.segmentation import SegmentationDataset


# Of all pixels, from which on it is said how many do not count.
IGNORED_SHARE = 0.1
# How many label maps are looked at before a training.
NUM_SAMPLED = 200
# Images that are read at a time for that.
NUM_THREADS = 4


def label_warnings(class_names: Sequence[str], pixels: Sequence[int], num_ignored: int, ignore_index: int) -> list[str]:
    """What is unusual in labels, and may be a mistake in reading them.

    Args:
        class_names (`Sequence[str]`): The classes.
        pixels (`Sequence[int]`): Number of pixels of each.
        num_ignored (`int`): Number of pixels that are not scored.
        ignore_index (`int`): Their id.

    Returns:
        `list[str]`: A sentence for classes that never occur, and one if more than a tenth of the pixels do not count.
    """
    warnings, counted = [], sum(pixels)
    absent = [name for name, number in zip(class_names, pixels, strict=True) if not number]
    if absent and counted:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        warnings.append(f"{len(absent)} of {len(class_names)} classes never occur in the labels: {shown}.")
    if num_ignored > IGNORED_SHARE * (num_ignored + counted):
        share = num_ignored / (num_ignored + counted)
        warnings.append(f"{share:.1%} of the pixels do not count: their label is {ignore_index}.")
    return warnings


class LabelCounts:
    """Numbers of pixels of each class in label maps.

    Args:
        name (`str`): Name of the data set, for messages.
        class_names (`Sequence[str]`): The classes.
        ignore_index (`int`): Id of the pixels that are not scored.

    Attributes:
        num_label_maps (`int`): How many label maps were counted.
        pixels (`np.ndarray` of shape `(classes,)`): Number of pixels of each class.
        num_ignored (`int`): Number of pixels that are not scored.
    """

    def __init__(self, name: str, class_names: Sequence[str], ignore_index: int) -> None:
        self.name, self.class_names, self.ignore_index = name, list(class_names), ignore_index
        self.num_label_maps, self.num_ignored = 0, 0
        self.pixels = np.zeros(len(self.class_names), dtype=np.int64)

    def add(self, labels: np.ndarray) -> None:
        """Counts a label map.

        Args:
            labels (`np.ndarray` of shape `(height, width)`): Class ids; others than those of the classes do not count.
        """
        is_scored = labels != self.ignore_index
        used = labels[is_scored & (labels >= 0) & (labels < len(self.pixels))]
        self.pixels += np.bincount(used, minlength=len(self.pixels))
        self.num_ignored += int(np.count_nonzero(~is_scored))
        self.num_label_maps += 1

    def warnings(self) -> list[str]:
        """What is unusual in them.

        Returns:
            `list[str]`: See [`label_warnings`].
        """
        return label_warnings(self.class_names, self.pixels.tolist(), self.num_ignored, self.ignore_index)

    def refuse_binary_masks(self) -> None:
        """Refuses what black and white masks of two classes look like whose white, 255, is read as "not scored".

        Raises:
            ValueError: If there are two classes, no pixel is of the second one, and some pixels are not scored.
        """
        if len(self.pixels) == 2 and not self.pixels[1] and self.num_ignored:
            share = self.num_ignored / (self.num_ignored + int(self.pixels.sum()))
            raise ValueError(
                f"No pixel of {self.name} is {self.class_names[1]!r}, and {share:.1%} have the value of pixels that "
                f"are not scored ({self.num_label_maps:,} label maps were looked at). If these are masks of 0 and 255, "
                "and 255 is the second class, say so: `--binary-masks` at the command line, `binary_masks=True` in "
                "Python. If not, name all values in a file: `--label-map`, `label_map=`."
            )


def can_be_binary_masks(num_classes: int, ids: object) -> bool:
    """Whether masks of 0 and 255 could be read as something else.

    Args:
        num_classes (`int`): Number of classes.
        ids (`object`): What the values of label files stand for, where that is known.

    Returns:
        `bool`: False where a label map names all values.
    """
    return num_classes == 2 and not isinstance(ids, NamedValues)


def refuse_binary_masks(dataset: SegmentationDataset, limit: int | None = None) -> None:
    """Refuses black and white masks of two classes, whose white, 255, would be read as "not scored".

    Reads label files until one has the second class, which is usually the first one.

    Args:
        dataset ([`SegmentationDataset`]): Images and labels.
        limit (`int`, *optional*): How many of the first samples are used.

    Raises:
        ValueError: If the data set has two classes, no pixel is of the second one, and some pixels are not scored.
    """
    if not can_be_binary_masks(dataset.num_classes, getattr(dataset.read, "ids", None)):
        return
    counts = LabelCounts(dataset.name, dataset.class_names, dataset.ignore_index)
    for index in range(len(dataset) if limit is None else min(limit, len(dataset))):
        labels = _readable_labels(dataset, index)
        if labels is not None:
            counts.add(labels)
        if counts.pixels[1]:
            return
    counts.refuse_binary_masks()


def sampled_label_counts(dataset: SegmentationDataset) -> LabelCounts:
    """Counts the pixels of at most [`NUM_SAMPLED`] label maps, spread evenly over a data set.

    Args:
        dataset ([`SegmentationDataset`]): Images and labels.

    Returns:
        [`LabelCounts`]: Without samples that cannot be read.
    """
    counts = LabelCounts(dataset.name, dataset.class_names, dataset.ignore_index)
    number = min(NUM_SAMPLED, len(dataset))
    indices = [place * len(dataset) // number for place in range(number)]
    lock = Lock()

    def count(index: int) -> None:
        labels = _readable_labels(dataset, index)
        if labels is not None:
            with lock:
                counts.add(labels)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        list(threads.map(count, indices))  # raises what one raised
    return counts


def _readable_labels(dataset: SegmentationDataset, index: int) -> np.ndarray | None:
    try:
        return dataset[index].labels
    except (OSError, ValueError):  # whoever uses the sample will say so
        return None


__all__ = [
    "LabelCounts",
    "can_be_binary_masks",
    "label_warnings",
    "refuse_binary_masks",
    "sampled_label_counts",
]
