# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What all data sets have in common: samples, made of an image and what its label file stores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from catseg_hf.datasets.label_values import LabelValues


@dataclass(frozen=True)
class Sample:
    """An image and its labels.

    Attributes:
        name (`str`): Unique in the data set, and fit for a file name.
        image (`PIL.Image.Image`): Of any mode that its file has, upright.
        labels (`np.ndarray` of shape `(height, width)`): int32 class ids; pixels that are not scored have the data
            set's `ignore_index`.
    """

    name: str
    image: PIL.Image.Image
    labels: np.ndarray


class SegmentationDataset(torch.utils.data.Dataset):
    """A map-style data set of [`Sample`]s, read from their files one by one.

    Made by [`load_benchmark`], [`load_folder`] and [`from_hub_dataset`]. Works in a `torch.utils.data.DataLoader`, also
    with several workers; samples differ in size, so give it `collate_fn=list`.

    Args:
        name (`str`):
            Name of the data set.
        split (`str`):
            Name of its part, such as `"val"`.
        vocabulary (`Sequence[str | Sequence[str]]`):
            The classes that a model is asked for, as [`CatSegProcessor`] takes them.
        records (`Sequence`):
            What `read` needs for each sample.
        read (`Callable[[Any], Sample]`):
            Reads the sample of a record. To be sent to other processes, it must be picklable.
        class_names (`Sequence[str]`, *optional*):
            Names of the scored classes, in the order of the ids in `labels`. The first name of each entry of
            `vocabulary` by default.
        ignore_index (`int`, *optional*, defaults to 255):
            Id of the pixels that are not scored.
        warnings (`Sequence[str]`, *optional*):
            What of the files was left out, in sentences with figures.

    Attributes:
        num_classes (`int`): Number of scored classes.

    Example:

    ```python
    >>> from catseg_hf.datasets import load_folder

    >>> dataset = load_folder("images", "labels", "classes.txt")
    >>> len(dataset), dataset.num_classes, dataset[0].name
    (5, 5, '0')
    ```
    """

    def __init__(
        self,
        name: str,
        split: str,
        vocabulary: Sequence[str | Sequence[str]],
        records: Sequence[Any],
        read: Callable[[Any], Sample],
        *,
        class_names: Sequence[str] | None = None,
        ignore_index: int = 255,
        warnings: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.split = split
        self.vocabulary = [entry if isinstance(entry, str) else list(entry) for entry in vocabulary]
        if class_names is None:
            class_names = [entry if isinstance(entry, str) else entry[0] for entry in self.vocabulary]
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.ignore_index = ignore_index
        self.records = records
        self.read = read
        self.warnings = list(warnings)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Reads a sample.

        Args:
            index (`int`): Its place, from 0 to the number of samples - 1; negative ones count from the end.

        Returns:
            [`Sample`]: Image and labels, of the same size.

        Raises:
            IndexError: If there is no such sample.
            OSError: If a file is missing or cannot be read; the message names it.
            ValueError: If the labels have another size than the image or hold values that the data set does not
                define; the message names the files.
        """
        return self.read(self.records[index])

    def map_predictions(self, predictions: torch.Tensor) -> torch.Tensor:
        """Turns positions in `vocabulary` into ids of the scored classes.

        With more names than scored classes, the last class (the background of `"pascal_voc_20b"`) takes all further
        names. Otherwise nothing changes.

        Args:
            predictions (`torch.Tensor`): Positions in `vocabulary`, of any shape and integer type.

        Returns:
            `torch.Tensor`: Class ids, of the same shape and type.
        """
        if self.num_classes == len(self.vocabulary):
            return predictions
        return predictions.clamp(max=self.num_classes - 1)


def make_sample(
    name: str, image: PIL.Image.Image, values: np.ndarray, ids: LabelValues, image_place: object, label_place: object
) -> Sample:
    """A sample of an image and what its label file stores.

    Args:
        name (`str`): Name of the sample.
        image (`PIL.Image.Image`): The image. It is turned upright by its EXIF orientation, as the original's reader
            does, unless only the image as stored has the size of the labels.
        values (`np.ndarray` of shape `(height, width)`): Stored values, of any integer type.
        ids ([`LabelValues`]): What they stand for.
        image_place, label_place (`object`): Where both come from, for messages.

    Returns:
        [`Sample`]: The sample.

    Raises:
        ValueError: If the sizes differ or a value is unknown; the message names the places.
    """
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{label_place} holds values of type {values.dtype}: labels need integers.")
    size = values.shape[::-1]
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.size != size and image.size == size:
        upright = PIL.Image.fromarray(np.asarray(image.convert("RGB")))  # leaves the orientation behind
    if upright.size != size:
        raise ValueError(
            f"{image_place} has {upright.width} x {upright.height} pixels, and its labels, {label_place}, have "
            f"{' x '.join(map(str, size))}: they do not belong together, or one of them was resized."
        )
    try:
        labels = ids.to_class_ids(values)
    except ValueError as error:
        raise ValueError(f"{label_place} {error}") from error
    return Sample(name, upright, labels)
