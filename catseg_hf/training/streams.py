# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Training on a stream of the library `datasets`."""

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from catseg_hf.datasets import Sample
from catseg_hf.datasets.checks import NUM_SAMPLED, LabelCounts, can_be_binary_masks
from catseg_hf.datasets.custom import RowReader, Vocabulary, classes_and_ids
from catseg_hf.prompts_catseg import Label
from catseg_hf.training.data import AugmentedSamples, OnBadSample
from catseg_hf.training.recipes import Recipe


logger = logging.getLogger(__name__)


class TrainingStream(AugmentedSamples, IterableDataset):
    """The samples of a training run from a stream, which knows neither its length nor a sample by its number.

    Each epoch is shuffled by the stream's buffer. A run that goes on passes over what was read before in that epoch,
    without decoding it. The stream is read by one process; accelerate hands the others their part.

    What is unusual in the labels is logged, by the process that reads them, after 200 of them, or those of a shorter
    epoch: classes that never occur, and more than a tenth of pixels that do not count. Of two classes, samples are held
    back until one has the second class; if none of 200 has it, but pixels that are not scored, they are refused: they
    look like masks of 0 and 255.

    Args:
        stream (`datasets.IterableDataset`): The stream, as [`stream_rows`] returns it.
        reader ([`StreamRowReader`]): Reads a sample from a row, as [`stream_rows`] returns it.
        recipe ([`Recipe`]): The recipe.
        seed (`int`, *optional*, defaults to 0): Of the order and the augmentation.
        ignore_index, on_bad_sample: As for [`TrainingSamples`]; skipped samples are left out.
        start (`tuple[int, int]`, *optional*, defaults to `(0, 0)`):
            Epoch and number of the first row; those of the last sample that was used, plus 1.
        buffer_size (`int`, *optional*, defaults to 1000): Rows that the stream shuffles at a time.
    """

    def __init__(
        self,
        stream: Any,
        reader: "StreamRowReader",
        recipe: Recipe,
        *,
        seed: int = 0,
        ignore_index: int = 255,
        on_bad_sample: OnBadSample = "refuse",
        start: tuple[int, int] = (0, 0),
        buffer_size: int = 1000,
    ) -> None:
        name = stream.info.dataset_name or "the stream"
        num_classes = reader.ids.num_classes
        super().__init__(name, num_classes, reader.ids.ignore_index, recipe, seed, ignore_index, on_bad_sample)
        self.stream = stream
        self.reader = reader
        self.start = start
        self.buffer_size = buffer_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields samples as [`TrainingSamples`] has them, with their `position` (epoch and number), without end.

        Raises:
            ValueError: If a sample cannot be used, none of an epoch can, several processes read for a data loader, or
                masks of two classes look like those of 0 and 255 and are not read as such.
        """
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError("A stream is read by one process: give the data loader `num_workers` 0 or 1.")
        epoch, first = self.start
        watch = _LabelWatch(self.name, self.reader)
        while True:
            rows = self.stream.shuffle(seed=self.seed, buffer_size=self.buffer_size).skip(first)
            rows.set_epoch(epoch)  # which decides on the order, beside the seed
            num_used, held = 0, []
            for index, row in enumerate(rows, start=first):
                read = functools.partial(watch.read, dataclasses.replace(self.reader, dataset={index: row}), index)
                item = self.prepare(read, epoch, index)
                if item is not None:
                    num_used += 1
                    held.append({**item, "position": np.array([epoch, index])})
                if watch.check():
                    yield from held
                    held = []
            if not num_used and not first:
                raise ValueError(f"No sample of {self.name} can be used: see the warnings above.")
            watch.check(is_whole=not first)
            yield from held
            epoch, first = epoch + 1, 0


class _LabelWatch:
    """Looks at the first labels of a stream, says what is unusual in them, and refuses binary masks.

    Args:
        name (`str`): Name of the stream.
        reader ([`StreamRowReader`]): What reads its rows.
    """

    def __init__(self, name: str, reader: "StreamRowReader") -> None:
        self.counts = LabelCounts(name, reader.class_names, reader.ids.ignore_index)
        self.can_be_binary = can_be_binary_masks(reader.ids.num_classes, reader.ids)
        self.is_counting, self.has_warned = True, False

    def read(self, reader: RowReader, index: int) -> Sample:
        """Reads a sample and counts its labels."""
        sample = reader(index)
        if self.is_counting:
            self.counts.add(sample.labels)
        return sample

    def check(self, is_whole: bool = False) -> bool:
        """Looks at what was counted.

        Args:
            is_whole (`bool`, *optional*, defaults to `False`): Whether that was an epoch.

        Returns:
            `bool`: Whether the samples can be used.

        Raises:
            ValueError: If they are binary masks that are not read as such.
        """
        is_open = self.can_be_binary and not self.counts.pixels[1]
        is_enough = is_whole or self.counts.num_label_maps >= NUM_SAMPLED
        if is_open and is_enough:
            self.counts.refuse_binary_masks()
        if is_enough and not self.has_warned:
            self.has_warned = True
            for warning in self.counts.warnings():
                logger.warning("%s, first %d label maps: %s", self.counts.name, self.counts.num_label_maps, warning)
        self.is_counting = is_open or not self.has_warned
        return is_enough or not is_open


class _DecodedRow:
    """A row whose images are decoded when they are asked for, so that a damaged one can be skipped."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row

    def __getitem__(self, column: str) -> Any:
        from datasets import Image

        value = self.row[column]
        is_encoded = isinstance(value, dict) and set(value) == {"bytes", "path"}
        return Image().decode_example(value) if is_encoded else value


@dataclasses.dataclass(frozen=True)
class StreamRowReader(RowReader):
    """Reads a sample from a row of a stream, whose images are not decoded yet.

    Args:
        class_names (`tuple[str, ...]`): The classes, for messages.
    """

    class_names: tuple[str, ...] = ()

    def __call__(self, index: int) -> Sample:
        """The sample of the row; see [`RowReader`]."""
        row = _DecodedRow(self.dataset[index])
        try:
            decoded = {column: row[column] for column in (self.image_column, self.label_column)}
        except Exception as error:  # damaged images raise many types
            raise OSError(f"Row {index} of the stream cannot be read: {error}") from error
        return RowReader({index: decoded}, self.image_column, self.label_column, self.ids)(index)


def stream_rows(
    stream: Any,
    vocabulary: Vocabulary | None = None,
    *,
    split: str = "train",
    image_column: str = "image",
    label_column: str = "annotation",
    ignore_index: int = 255,
    reduce_labels: bool = False,
    binary_masks: bool = False,
    label_map: str | os.PathLike[str] | None = None,
) -> tuple[Any, StreamRowReader, list[Label]]:
    """Prepares a stream of the library `datasets` for [`TrainingStream`].

    Args:
        stream (`datasets.IterableDataset`, `str` or `os.PathLike`):
            The stream, or a name or path for `datasets.load_dataset`.
        vocabulary (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`):
            The classes in the order of their ids; by default those of `label_map`. See [`load_folder`].
        split (`str`, *optional*, defaults to `"train"`): The part that `load_dataset` loads.
        image_column, label_column, ignore_index, reduce_labels, binary_masks, label_map: As for [`from_hub_dataset`].

    Returns:
        `tuple[datasets.IterableDataset, StreamRowReader, list[str | list[str]]]`: The stream, what reads its rows, and
        the classes.

    Raises:
        TypeError: If it is no stream.
        ValueError: If a column does not exist, or `vocabulary`, `label_map` or `ignore_index` is wrong.

    Example:

    ```python
    >>> from datasets import Dataset, Image
    >>> from catseg_hf.training import TrainingStream, stream_rows

    >>> rows = Dataset.from_dict({"image": ["images/0.png"], "annotation": ["labels/0.png"]})
    >>> rows = rows.cast_column("image", Image()).cast_column("annotation", Image()).to_iterable_dataset()
    >>> stream, reader, classes = stream_rows(rows, "classes.txt")
    >>> training_stream = TrainingStream(stream, reader, recipe)
    >>> len(classes)
    5
    ```
    """
    from datasets import Image, IterableDataset, load_dataset

    if isinstance(stream, str | os.PathLike):
        stream = load_dataset(os.fspath(stream), split=split, streaming=True)
    if not isinstance(stream, IterableDataset):
        raise TypeError(f"`stream` is a {type(stream).__name__}: a `datasets.IterableDataset` is needed.")
    if stream.features is None:
        stream = stream._resolve_features()
    for argument, column in (("image_column", image_column), ("label_column", label_column)):
        if column not in stream.features:
            raise ValueError(f"`{argument}={column!r}` is no column of the stream: it has {list(stream.features)}.")
        if isinstance(stream.features[column], Image):
            stream = stream.cast_column(column, Image(decode=False))
    entries, ids = classes_and_ids(vocabulary, ignore_index, reduce_labels, binary_masks, label_map)
    class_names = tuple(entry if isinstance(entry, str) else entry[0] for entry in entries)
    return stream, StreamRowReader(None, image_column, label_column, ids, class_names), entries


__all__ = ["StreamRowReader", "TrainingStream", "stream_rows"]
