# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The images of a training run, each with a fixed place, whatever the number of processes and the interruptions."""

import functools
import logging
import multiprocessing
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from catseg_hf.datasets import Sample, SegmentationDataset
from catseg_hf.datasets.checks import refuse_binary_masks, sampled_label_counts
from catseg_hf.training.augmentation import augment
from catseg_hf.training.recipes import Recipe


logger = logging.getLogger(__name__)

OnBadSample = Literal["refuse", "skip"]
BAD_SAMPLE_CHOICES = ("refuse", "skip")


class AugmentedSamples:
    """What training samples have in common: checks, augmentation with a generator for each place, and skipping.

    Args:
        name (`str`): Name of the data set.
        num_classes (`int`): Number of classes.
        stored_ignore_index (`int`): Label of the pixels that the data set does not score.
        recipe ([`Recipe`]): The recipe.
        seed (`int`): Of all that is random.
        ignore_index (`int`): Label of these pixels, and of padding, in the result.
        on_bad_sample (`"refuse"` or `"skip"`): What becomes of samples that cannot be used.

    Attributes:
        label_warnings (`list[str]`): What is unusual in the labels, as far as that is known before the first sample.
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
        self.label_warnings: list[str] = []
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


class TrainingSamples(AugmentedSamples, Dataset):
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

    Attributes:
        label_warnings (`list[str]`):
            What was left out of the data set, as it says; and what is unusual in the labels, for which at most 200 of
            them are looked at: classes that never occur, and more than a tenth of pixels that do not count. It is
            logged, too, by the first process.

    Raises:
        ValueError: If the data set cannot be trained on, or an argument has a value that is not allowed.

    Example:

    ```python
    >>> from catseg_hf.training import Recipe, TrainingSamples

    >>> samples = TrainingSamples(dataset, Recipe(steps=10, batch_size=4, crop_size=64))
    >>> len(samples)
    40
    ```
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
        counts = sampled_label_counts(dataset)
        looked_at = f"{name}, {counts.num_label_maps:,} of {len(dataset):,} label maps"
        unusual = [f"{looked_at}: {warning}" for warning in counts.warnings()]
        self.label_warnings = [*(f"{name}: {warning}" for warning in dataset.warnings), *unusual]
        if (
            not torch.distributed.is_available()
            or not torch.distributed.is_initialized()
            or torch.distributed.get_rank() == 0
        ):
            for warning in unusual:  # the data set has logged its own
                logger.warning("%s", warning)

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
    "AugmentedSamples",
    "Collator",
    "TrainingSamples",
    "shuffled",
]
