# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The images of a training run, each with a fixed place, whatever the number of processes and the interruptions."""

import dataclasses
import functools
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from catseg_hf.datasets import Sample, SegmentationDataset
from catseg_hf.datasets.checks import refuse_binary_masks
from catseg_hf.datasets.custom import RowReader, Vocabulary, classes_and_ids
from catseg_hf.prompts_catseg import Label
from catseg_hf.training.augmentation import augment
from catseg_hf.training.recipes import Recipe


logger = logging.getLogger(__name__)

OnBadSample = Literal["refuse", "skip"]
BAD_SAMPLE_CHOICES = ("refuse", "skip")


class _AugmentedSamples:
    """What training samples have in common: checks, augmentation with a generator for each place, and skipping.

    Args:
        name (`str`): Name of the data set.
        num_classes (`int`): Number of classes.
        stored_ignore_index (`int`): Label of the pixels that the data set does not score.
        recipe ([`Recipe`]): The recipe.
        seed (`int`): Of all that is random.
        ignore_index (`int`): Label of these pixels, and of padding, in the result.
        on_bad_sample (`"refuse"` or `"skip"`): What becomes of samples that cannot be used.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        stored_ignore_index: int,
        recipe: Recipe,
        seed: int,
        ignore_index: int,
        on_bad_sample: OnBadSample,
    ) -> None:
        if on_bad_sample not in BAD_SAMPLE_CHOICES:
            raise ValueError(f"`on_bad_sample` must be one of {BAD_SAMPLE_CHOICES}, got {on_bad_sample!r}.")
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"`ignore_index={ignore_index}` is also the id of one of {num_classes} classes: use a larger number."
            )
        self.name = name
        self.num_classes = num_classes
        self.stored_ignore_index = stored_ignore_index
        self.recipe = recipe
        self.seed = seed
        self.ignore_index = ignore_index
        self.on_bad_sample = on_bad_sample
        # Counted in the processes of a data loader, read in the one that trains.
        self._num_skipped = multiprocessing.Value("q", 0)

    @property
    def num_skipped(self) -> int:
        """How many samples were skipped so far, in this process and those that read for it."""
        return self._num_skipped.value

    def prepare(self, read: Callable[[], Sample], epoch: int, index: int) -> dict[str, np.ndarray] | None:
        """Reads, checks and augments a sample.

        Args:
            read (`Callable[[], Sample]`): Reads it.
            epoch, index (`int`): Its place, which decides on all that is random.

        Returns:
            `dict[str, np.ndarray]`, *optional*: `pixels`, uint8 of shape `(crop_size, crop_size, 3)`, and `labels`,
            int64 of shape `(crop_size, crop_size)`. `None` if it cannot be used and is skipped, with a warning.

        Raises:
            ValueError: If it cannot be used and is not to be skipped; the message names it.
        """
        try:
            sample = read()
            labels = self._checked_labels(sample)
            generator = np.random.default_rng([self.seed, epoch, index])
            pixels, labels = augment(sample.image, labels, self.recipe, generator, ignore_index=self.ignore_index)
        except (OSError, ValueError) as error:
            if self.on_bad_sample == "refuse":
                raise ValueError(
                    f"Sample {index} of {self.name} cannot be used for training: {error} Mend or remove it, or train "
                    'with `on_bad_sample="skip"`, which says how many samples it left out.'
                ) from error
            with self._num_skipped.get_lock():
                self._num_skipped.value += 1
            logger.warning("Skipped sample %d of %s (%d so far): %s", index, self.name, self.num_skipped, error)
            return None
        return {"pixels": pixels, "labels": labels}

    def _checked_labels(self, sample: Sample) -> np.ndarray:
        is_scored = sample.labels != self.stored_ignore_index
        used = sample.labels[is_scored]
        if not used.size:
            raise ValueError(f"{sample.name} has an empty annotation: no pixel has a class.")
        if used.min() < 0 or used.max() >= self.num_classes:
            raise ValueError(
                f"{sample.name} has class ids from {used.min()} to {used.max()}, but the vocabulary has "
                f"{self.num_classes} classes, 0 to {self.num_classes - 1}."
            )
        return np.where(is_scored, sample.labels, self.ignore_index)


class TrainingSamples(_AugmentedSamples, Dataset):
    """The samples of a whole training run, in order: `recipe.steps * recipe.batch_size` of them.

    The data set is shuffled anew for each epoch, and the next one follows without a gap. A place in the run decides
    which sample is there and what augmentation makes of it: with `seed`, nothing else does, be it the number of
    processes or of workers, or what was read before. So a run goes on at any place, without reading anything again:
    give a data loader `sampler=range(first_place, len(samples))`.

    Args:
        dataset ([`SegmentationDataset`]): Images and labels; as many scored classes as names in its vocabulary.
        recipe ([`Recipe`]): The recipe.
        seed (`int`, *optional*, defaults to 0): Of the order and the augmentation.
        ignore_index (`int`, *optional*, defaults to 255):
            Label of pixels that are not scored or were added, as in `config.semantic_loss_ignore_index`.
        on_bad_sample (`"refuse"` or `"skip"`, *optional*, defaults to `"refuse"`):
            What becomes of samples that cannot be used: a damaged image or label file, an id outside the vocabulary, no
            labelled pixel at all. `"skip"` takes the next one that can be used in its place, warns, and counts.

    Raises:
        ValueError: If the data set cannot be trained on, or an argument has a value that is not allowed.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        recipe: Recipe,
        *,
        seed: int = 0,
        ignore_index: int = 255,
        on_bad_sample: OnBadSample = "refuse",
    ) -> None:
        name = f"{dataset.name} ({dataset.split})"
        if dataset.num_classes != len(dataset.vocabulary):
            raise ValueError(
                f"{name} scores {dataset.num_classes} classes of a vocabulary of {len(dataset.vocabulary)} names: "
                "training needs one name for each class."
            )
        if not len(dataset):
            raise ValueError(f"{name} has no images.")
        refuse_binary_masks(dataset)
        super().__init__(name, dataset.num_classes, dataset.ignore_index, recipe, seed, ignore_index, on_bad_sample)
        self.dataset = dataset

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.batch_size

    def __getitem__(self, place: int) -> dict[str, np.ndarray]:
        """The sample at a place of the run.

        Args:
            place (`int`): From 0 to `len(self) - 1`.

        Returns:
            `dict[str, np.ndarray]`: `pixels`, uint8 of shape `(crop_size, crop_size, 3)`, and `labels`, int64 of shape
            `(crop_size, crop_size)`.

        Raises:
            IndexError: If there is no such place.
            ValueError: If the sample there cannot be used, or none of the data set can; the message names it.
        """
        if not 0 <= place < len(self):
            raise IndexError(f"Place {place} is not among the {len(self)} of this training run.")
        epoch, rank = divmod(place, len(self.dataset))
        order = shuffled(len(self.dataset), self.seed, epoch)
        for trial in range(len(order)):
            index = int(order[(rank + trial) % len(order)])
            item = self.prepare(functools.partial(self.dataset.__getitem__, index), epoch, index)
            if item is not None:
                return item
        raise ValueError(f"None of the {len(order)} samples of {self.name} can be used: see the warnings above.")


@functools.lru_cache(maxsize=2)
def shuffled(number: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers from 0 to `number - 1` in the order of an epoch.

    Args:
        number (`int`): How many.
        seed, epoch (`int`): What decides on the order.

    Returns:
        `np.ndarray` of shape `(number,)`.
    """
    return np.random.default_rng([seed, epoch]).permutation(number)


class TrainingStream(_AugmentedSamples, IterableDataset):
    """The samples of a training run from a stream, which knows neither its length nor a sample by its number.

    Each epoch is shuffled by the stream's buffer. A run that goes on passes over what was read before in that epoch,
    without decoding it. The stream is read by one process; accelerate hands the others their part.

    Args:
        stream (`datasets.IterableDataset`): The stream, as [`stream_rows`] returns it.
        reader ([`RowReader`]): Reads a sample from a row, as [`stream_rows`] returns it.
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
        reader: RowReader,
        recipe: Recipe,
        *,
        seed: int = 0,
        ignore_index: int = 255,
        on_bad_sample: OnBadSample = "refuse",
        start: tuple[int, int] = (0, 0),
        buffer_size: int = 1000,
    ) -> None:
        name = stream.info.dataset_name or "the stream"
        num_classes = len(reader.ids.classes)
        super().__init__(name, num_classes, reader.ids.ignore_index, recipe, seed, ignore_index, on_bad_sample)
        self.stream = stream
        self.reader = reader
        self.start = start
        self.buffer_size = buffer_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields samples as [`TrainingSamples`] has them, with their `position` (epoch and number), without end.

        Raises:
            ValueError: If a sample cannot be used, none of an epoch can, or several processes read for a data loader.
        """
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError("A stream is read by one process: give the data loader `num_workers` 0 or 1.")
        epoch, first = self.start
        while True:
            rows = self.stream.shuffle(seed=self.seed, buffer_size=self.buffer_size).skip(first)
            rows.set_epoch(epoch)  # which decides on the order, beside the seed
            num_used = 0
            for index, row in enumerate(rows, start=first):
                read = functools.partial(dataclasses.replace(self.reader, dataset={index: row}), index)
                item = self.prepare(read, epoch, index)
                if item is not None:
                    num_used += 1
                    yield {**item, "position": np.array([epoch, index])}
            if not num_used and not first:
                raise ValueError(f"No sample of {self.name} can be used: see the warnings above.")
            epoch, first = epoch + 1, 0


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
    """Reads a sample from a row of a stream, whose images are not decoded yet."""

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
    vocabulary: Vocabulary,
    *,
    split: str = "train",
    image_column: str = "image",
    label_column: str = "annotation",
    ignore_index: int = 255,
    reduce_labels: bool = False,
    binary_masks: bool = False,
) -> tuple[Any, StreamRowReader, list[Label]]:
    """Prepares a stream of the library `datasets` for [`TrainingStream`].

    Args:
        stream (`datasets.IterableDataset`, `str` or `os.PathLike`):
            The stream, or a name or path for `datasets.load_dataset`.
        vocabulary (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`):
            The classes in the order of their ids; see [`load_folder`].
        split (`str`, *optional*, defaults to `"train"`): The part that `load_dataset` loads.
        image_column, label_column, ignore_index, reduce_labels, binary_masks: As for [`from_hub_dataset`].

    Returns:
        `tuple[datasets.IterableDataset, StreamRowReader, list[str | list[str]]]`: The stream, what reads its rows, and
        the classes.

    Raises:
        TypeError: If it is no stream.
        ValueError: If a column does not exist, or `vocabulary` or `ignore_index` is wrong.
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
    entries, ids = classes_and_ids(vocabulary, ignore_index, reduce_labels, binary_masks)
    return stream, StreamRowReader(None, image_column, label_column, ids), entries


class Collator:
    """Makes the model's inputs from training samples.

    Args:
        processor ([`CatSegProcessor`] or [`CatSegImageProcessor`]): The model's.

    Example:

    ```python
    >>> loader = DataLoader(samples, batch_size=4, collate_fn=Collator(processor))
    >>> loss = model(**next(iter(loader))).loss
    ```
    """

    def __init__(self, processor: Any) -> None:
        self.image_processor = getattr(processor, "image_processor", processor)

    def __call__(self, samples: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        """A batch of B samples with crops of C pixels.

        Args:
            samples (`list[dict[str, np.ndarray]]`): As [`TrainingSamples`] and [`TrainingStream`] return them.

        Returns:
            `dict[str, torch.Tensor]`: `pixel_values` (float32, of the size that CLIP sees), `backbone_pixel_values` if
            the model has an appearance backbone, `labels` (int64, `(B, C, C)`), and `position` (int64, `(B, 2)`) of
            samples from a stream, which is not for the model.
        """
        # The originals' plain mode: normalised, padded to a multiple of 32 and resized as a whole. Labels stay as they
        # are, since the loss resizes logits to them.
        batch = self.image_processor(
            [sample["pixels"] for sample in samples],
            return_tensors="pt",
            do_resize=False,
            do_sliding_window=False,
            pad_to_multiple=32,
        )
        for name in samples[0].keys() - {"pixels"}:
            batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
        return dict(batch)


__all__ = [
    "Collator",
    "StreamRowReader",
    "TrainingSamples",
    "TrainingStream",
    "shuffled",
    "stream_rows",
]
