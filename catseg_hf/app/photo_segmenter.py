# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model with labels and a threshold, as `catseg segment` uses it: photos in, segmentations out."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers.image_processing_utils import BatchFeature
from transformers.utils import logging

from catseg_hf.app.background import in_order
from catseg_hf.app.devices import compile_model, pick_device, pick_dtype
from catseg_hf.app.photo_reading import read_photos
from catseg_hf.app.photos import Photo
from catseg_hf.app.segmentation import NO_CLASS, Segmentation, label_name
from catseg_hf.hub import find_model, load_model_and_processor
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegSemanticSegmenterOutput
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text


BATCHES_AHEAD = 2  # that a GPU is given before the results of one are there


class PreparedPhotos(NamedTuple):
    """Photos that go through the model together: with their pictures, and as the model's inputs."""

    photos: Sequence[tuple[Photo, Image.Image]]
    inputs: BatchFeature


class PhotoSegmenter:
    """Segments photos, a few at a time.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on its device.
        processor ([`CatSegProcessor`]): Its processor.
        labels (`Sequence[str | list[str]]`, *optional*): The classes; by default the model's own vocabulary.
        threshold (`float`, *optional*): Least score, from 0 to 1, that the best class of a pixel needs.
        background (`str`, *optional*):
            A class for the pixels below the threshold: one of the labels, or one more. Of such a pixel, one minus the
            best class's score counts. Without it they have no class.
        need_scores (`bool`, *optional*, defaults to `False`): Whether the scores are wanted.
        text_embeds (`torch.Tensor` of shape `(T, P, D)` or `(T, P, S, D)`, *optional*):
            Text embeddings of the classes, where they are known already.

    Raises:
        ValueError: If a label cannot be used, there are none, or `background` is given without `threshold`.
    """

    def __init__(
        self,
        model: CatSegForSemanticSegmentation,
        processor: CatSegProcessor,
        labels: Sequence[Label] | None = None,
        threshold: float | None = None,
        background: str | None = None,
        need_scores: bool = False,
        text_embeds: torch.Tensor | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
        if background is not None and (threshold is None or not background.strip()):
            raise ValueError(f"`background={background!r}` names the pixels whose best score is below `threshold`.")
        self.model, self.processor = model, processor
        self.threshold = threshold
        self.need_scores = need_scores or threshold is not None
        if labels is not None:
            labels = parse_labels(labels, "labels")
            text_embeds = embed_labels(model, processor, labels) if text_embeds is None else text_embeds
        elif model.config.vocabulary_digest is None:
            raise ValueError("The model has no vocabulary of its own: give labels.")
        else:
            labels = list(model.config.id2label.values())
        self.text_embeds = text_embeds
        self.labels = list(labels)
        background = background if background is None else clean_text(background)
        names = [label_name(label) for label in labels]
        if background is not None and background not in names:
            self.labels.append(background)
            names.append(background)
        self.background_id = NO_CLASS if background is None else names.index(background)

    def prepare(self, photos: Sequence[tuple[Photo, Image.Image]]) -> PreparedPhotos:
        """Makes the model's inputs, on its device.

        Args:
            photos (`Sequence[tuple[Photo, PIL.Image.Image]]`): Photos with their pictures, RGB.

        Returns:
            [`PreparedPhotos`]
        """
        pictures = [picture for _, picture in photos]
        return PreparedPhotos(photos, self.processor(images=pictures, device=self.model.device))

    def __call__(self, prepared: PreparedPhotos) -> list[Segmentation]:
        """Segments photos together.

        Args:
            prepared ([`PreparedPhotos`]): Result of `prepare`.

        Returns:
            `list[Segmentation]`: One for each.
        """
        return self.segmentations(prepared, self.decide(prepared))

    @torch.inference_mode()
    def decide(
        self, prepared: PreparedPhotos, outputs: CatSegSemanticSegmenterOutput | None = None
    ) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """The best class of each pixel, on the model's device, which can still be at work on it.

        Args:
            prepared ([`PreparedPhotos`]): Result of `prepare`.
            outputs ([`CatSegSemanticSegmenterOutput`], *optional*): What the model made of them, where that is known.

        Returns:
            `list[tuple[torch.LongTensor, torch.FloatTensor | None]]`: Of each photo class and, where they are wanted,
            score, of shape `(height, width)`.
        """
        if outputs is None:
            outputs = self.model(**prepared.inputs, text_embeds=self.text_embeds)
        sizes = [(picture.height, picture.width) for _, picture in prepared.photos]
        if self.need_scores:
            return self.processor.post_process_best_classes(outputs, sizes)
        label_maps = self.processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
        return [(label_map, None) for label_map in label_maps]

    def segmentations(
        self, prepared: PreparedPhotos, decided: Sequence[tuple[torch.Tensor, torch.Tensor | None]]
    ) -> list[Segmentation]:
        """Segmentations of photos, brought from the model's device: waits until it is done with them.

        Args:
            prepared ([`PreparedPhotos`]): The photos.
            decided (`Sequence[tuple[torch.LongTensor, torch.FloatTensor | None]]`): Result of `decide`.

        Returns:
            `list[Segmentation]`: One for each.
        """
        return [
            self.segmentation(photo.name, picture, class_ids.cpu().numpy(), scores)
            for (photo, picture), (class_ids, scores) in zip(prepared.photos, decided, strict=True)
        ]

    def segmentation(
        self, name: str, picture: Image.Image, class_ids: np.ndarray, scores: torch.Tensor | None
    ) -> Segmentation:
        """The segmentation of a photo, with its threshold.

        Args:
            name (`str`): Where the photo came from.
            picture (`PIL.Image.Image`): The photo.
            class_ids (`np.ndarray` of shape `(height, width)`): Best class of each pixel.
            scores (`torch.Tensor` of shape `(height, width)`, *optional*): Its score.

        Returns:
            [`Segmentation`]
        """
        values = None if scores is None else scores.float().cpu().numpy()
        return Segmentation(name, picture, self.labels, *self.with_threshold(class_ids, values))

    def with_threshold(self, class_ids: np.ndarray, scores: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Takes pixels their class whose score is below the threshold, if there is one.

        Args:
            class_ids (`np.ndarray`): Best class of each pixel.
            scores (`np.ndarray`, *optional*): Its score.

        Returns:
            `tuple[np.ndarray, np.ndarray | None]`: Both, with those of the background in these places.
        """
        if self.threshold is None:
            return class_ids, scores
        is_background = scores < self.threshold
        return np.where(is_background, self.background_id, class_ids), np.where(is_background, 1 - scores, scores)


@torch.inference_mode()
def embed_labels(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, labels: Sequence[Label]
) -> torch.Tensor:
    """Text embeddings of labels.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode.
        processor ([`CatSegProcessor`]): Its processor.
        labels (`Sequence[str | list[str]]`): As [`parse_labels`] returns them.

    Returns:
        `torch.Tensor`: As [`CatSegForSemanticSegmentation.get_text_embeds`] returns them.

    Raises:
        ValueError: If a label cannot be used.
    """
    return model.get_text_embeds(processor(text=labels)["input_ids"])


def segment_photos(
    photos: Sequence[Photo],
    problems: dict[str, str],
    load: Callable[[], PhotoSegmenter],
    batch_size: int = 1,
    num_workers: int = 0,
) -> Iterator[tuple[Photo, Segmentation]]:
    """Segments any number of photos with the memory of a few batches, under a progress bar where there are several.

    Args:
        photos (`Sequence[Photo]`): The photos; each is read when its turn comes.
        problems (`dict[str, str]`): Gets the reason, by name, for each photo that cannot be read.
        load (`Callable[[], PhotoSegmenter]`): Called once, when the first photo was read.
        batch_size (`int`, *optional*, defaults to 1): Photos at a time.
        num_workers (`int`, *optional*, defaults to 0): Threads that read photos, and as many batches that wait.

    Returns:
        An iterator over each photo with its segmentation.
    """
    num_problems = len(problems)
    pictures = read_photos(photos, problems, num_workers)
    first = next(pictures, None)
    if first is None:
        return
    segmented = segment_pictures(load(), itertools.chain([first], pictures), batch_size, num_workers)
    # Shown only where somebody looks.
    with tqdm(total=len(photos), unit="photo", disable=None if len(photos) > 1 else True) as bar:
        for photo_and_result in segmented:
            yield photo_and_result
            bar.total = len(photos) - (len(problems) - num_problems)
            bar.update()


def segment_pictures(
    segmenter: PhotoSegmenter, pictures: Iterable[tuple[Photo, Image.Image]], batch_size: int, num_workers: int
) -> Iterator[tuple[Photo, Segmentation]]:
    """Segments pictures one batch after the other; a GPU is given the next ones before the results of one are there.

    Args:
        segmenter ([`PhotoSegmenter`]): Model, labels and threshold.
        pictures (`Iterable[tuple[Photo, PIL.Image.Image]]`): Photos with their pictures; taken as they are needed.
        batch_size (`int`): Photos at a time.
        num_workers (`int`): Threads that prepare batches for a GPU. The cores of a CPU are busy with the model anyway.

    Returns:
        An iterator over each photo with its segmentation.
    """
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
    """Photos a few at a time.

    Args:
        photos (`Iterable`): The photos; taken as they are needed.
        size (`int`): How many.

    Returns:
        An iterator over lists of so many; the last can be shorter.
    """
    batch = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def load_model(
    name: str, device: str, dtype: str, *, compiles: bool = False
) -> tuple[CatSegForSemanticSegmentation, CatSegProcessor]:
    """Loads a model by its name at the command line.

    Args:
        name (`str`): As [`find_model`] takes it.
        device (`str`): As [`pick_device`] takes it.
        dtype (`str`): As [`pick_dtype`] takes it.
        compiles (`bool`, *optional*, defaults to `False`): Whether to compile the model.

    Returns:
        `tuple[CatSegForSemanticSegmentation, CatSegProcessor]`: The model, in evaluation mode, on its device.

    Raises:
        ValueError: If there is no such model or device.
    """
    target = pick_device(device)
    folder = find_model(name)
    logging.disable_progress_bar()
    model, processor = load_model_and_processor(folder, pick_dtype(dtype, target))
    model = model.to(target)
    if compiles:
        compile_model(model)
    return model, processor


def load_segmenter(
    model: str, device: str, dtype: str, labels: Sequence[Label] | None, *, compiles: bool = False, **options: Any
) -> PhotoSegmenter:
    """Loads a model by its name at the command line, for photos.

    Args:
        model, device, dtype, compiles: As for [`load_model`].
        labels (`Sequence[str | list[str]]`, *optional*): The classes.
        options: The other arguments of [`PhotoSegmenter`].

    Returns:
        `PhotoSegmenter`.

    Raises:
        ValueError: If there is no such model or device, or the labels cannot be used.
    """
    return PhotoSegmenter(*load_model(model, device, dtype, compiles=compiles), labels, **options)


__all__ = [
    "PhotoSegmenter",
    "PreparedPhotos",
    "embed_labels",
    "load_model",
    "load_segmenter",
    "segment_photos",
    "segment_pictures",
]
