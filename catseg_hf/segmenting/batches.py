# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos that go through a model together, one batch after the other."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from PIL import Image
from transformers.image_processing_utils import BatchFeature

from .background import in_order
from .segmentation import Segmentation


if TYPE_CHECKING:
    from .segmenter import Segmenter

BATCHES_AHEAD = 2  # that a GPU is given before the results of one are there


class HasName(Protocol):
    """Whatever says what a photo is called."""

    @property
    def name(self) -> str:
        """What it is called."""


Photo = TypeVar("Photo", bound=HasName)


class Named(NamedTuple):
    """What a photo is called."""

    name: str


class PreparedPhotos(NamedTuple):
    """Photos that go through the model together: with their pictures, and as the model's inputs."""

    photos: Sequence[tuple[Any, Image.Image]]
    inputs: BatchFeature


def segment_pictures(
    segmenter: "Segmenter", pictures: Iterable[tuple[Photo, Image.Image]], batch_size: int, num_workers: int
) -> Iterator[tuple[Photo, Segmentation]]:
    """Segments pictures, taken as they are needed, and gives each photo with its segmentation.

    A GPU is given the next batches, prepared by `num_workers` threads, before the results of one are there.
    """
    # The cores of a CPU are busy with the model anyway.
    num_threads = 0 if segmenter.model.device.type == "cpu" else num_workers
    prepared_photos = in_order(segmenter.prepare, _in_batches(pictures, batch_size), num_threads)
    decided = ((prepared, segmenter.decide(prepared)) for prepared in prepared_photos)
    finished = in_order(
        lambda item: (item[0], segmenter.segmentations(*item)), decided, min(num_threads, BATCHES_AHEAD)
    )
    for prepared, results in finished:
        for (photo, _), result in zip(prepared.photos, results, strict=True):
            yield photo, result


def _in_batches(photos: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(photos)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
