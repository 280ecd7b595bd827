# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Batches of images: read and prepared, also by further processes, then segmented and counted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from catseg_hf.datasets import SegmentationDataset
from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.evaluation.progress import Progress
from catseg_hf.evaluation.segmenter import PreparedImages, ProtocolSegmenter, prepare_images


class Batch(NamedTuple):
    """Images that go through the model together: their numbers, labels and prepared inputs."""

    indices: list[int]
    labels: list[np.ndarray]
    prepared: list[list[PreparedImages]]
    unreadable: dict[int, str]  # further images of the batch, and why they cannot be read


class Batches(Dataset):
    """Reads and prepares the images of batches, also in processes of a data loader.

    Args:
        dataset ([`SegmentationDataset`]): Where the images come from.
        batches (`Sequence[range]`): Numbers of the images of each batch.
        segmenter ([`ProtocolSegmenter`]): What is going to segment them.
        skip_unreadable (`bool`): Whether to name images that cannot be read in their [`Batch`], instead of refusing.

    Raises:
        ValueError: On reading a batch, if an image cannot be read and none is to be skipped.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batches: Sequence[range],
        segmenter: ProtocolSegmenter,
        skip_unreadable: bool,
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        # Not the model, which processes that read images do not need.
        self.image_processor = segmenter.image_processor
        self.protocol = segmenter.protocol
        self.device = segmenter.model.device
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        samples, unreadable = {}, {}
        for index in self.batches[number]:
            try:
                samples[index] = self.dataset[index]
            except (OSError, ValueError) as error:
                if not self.skip_unreadable:
                    raise ValueError(
                        f"Image {index} of {self.dataset.name} ({self.dataset.split}) cannot be used: {error} Replace "
                        "it, or skip what is unreadable; then the result says so."
                    ) from error
                unreadable[index] = str(error)
        images = [sample.image for sample in samples.values()]
        device = self.device if get_worker_info() is None else "cpu"  # A process of a data loader has no GPU.
        prepared = prepare_images(self.image_processor, self.protocol, images, device) if images else []
        return Batch(list(samples), [sample.labels for sample in samples.values()], prepared, unreadable)


def count_batch(batch: Batch, segmenter: ProtocolSegmenter, dataset: SegmentationDataset, progress: Progress) -> None:
    """Segments a batch, counts its pixels and saves the progress.

    Args:
        batch (`Batch`): Images and labels.
        segmenter ([`ProtocolSegmenter`]): What segments them.
        dataset ([`SegmentationDataset`]): Where they come from.
        progress ([`Progress`]): What counts them.
    """
    counts = progress.counts
    label_maps = segmenter.segment(batch.prepared, [labels.shape for labels in batch.labels]) if batch.labels else []
    for index, label_map, labels in zip(batch.indices, label_maps, batch.labels, strict=True):
        matrix = ConfusionMatrix(dataset.num_classes, ignore_index=dataset.ignore_index)
        matrix.update(dataset.map_predictions(label_map), labels)
        counts.matrix.merge(matrix)
        counts.image_scores[index] = matrix.compute()["miou_present_in_ground_truth"]
    counts.unreadable |= batch.unreadable
    progress.save()


__all__ = ["Batch", "Batches", "count_batch"]
