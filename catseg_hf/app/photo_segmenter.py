# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model with labels and a threshold, as `catseg segment` uses it: photos in, segmentations out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers.utils import logging

from catseg_hf.app.devices import pick_device
from catseg_hf.app.photo_reading import read_photos
from catseg_hf.app.photos import Photo
from catseg_hf.app.segmentation import NO_CLASS, Segmentation, label_name
from catseg_hf.hub import find_model
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label


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
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
        if background is not None and (threshold is None or not background.strip()):
            raise ValueError(f"`background={background!r}` names the pixels whose best score is below `threshold`.")
        self.model, self.processor = model, processor
        self.threshold = threshold
        self.need_scores = need_scores or threshold is not None
        self.text_embeds = None
        if labels is not None:
            input_ids = processor(text=list(labels))["input_ids"]
            with torch.inference_mode():
                self.text_embeds = model.get_text_embeds(input_ids.to(model.device))
        elif model.config.vocabulary_digest is None:
            raise ValueError("The model has no vocabulary of its own: give labels.")
        else:
            labels = list(model.config.id2label.values())
        self.labels = list(labels)
        names = [label_name(label) for label in labels]
        if background is not None and background not in names:
            self.labels.append(background)
            names.append(background)
        self.background_id = NO_CLASS if background is None else names.index(background)

    @torch.inference_mode()
    def __call__(self, photos: Sequence[tuple[Photo, Image.Image]]) -> list[Segmentation]:
        """Segments photos together.

        Args:
            photos (`Sequence[tuple[Photo, PIL.Image.Image]]`): Photos with their pictures, RGB.

        Returns:
            `list[Segmentation]`: One for each.
        """
        pictures = [picture for _, picture in photos]
        inputs = self.processor(images=pictures)
        # Boxes and sizes are for post-processing, which reads them on the CPU.
        for name in inputs:
            if name.endswith("pixel_values"):
                inputs[name] = inputs[name].to(self.model.device)
        outputs = self.model(**inputs, text_embeds=self.text_embeds)
        sizes = [(picture.height, picture.width) for picture in pictures]
        if self.need_scores:
            best = self.processor.post_process_best_classes(outputs, sizes)
        else:
            label_maps = self.processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
            best = [(label_map, None) for label_map in label_maps]
        return [
            self._segmentation(photo.name, picture, class_ids.cpu().numpy(), scores)
            for (photo, picture), (class_ids, scores) in zip(photos, best, strict=True)
        ]

    def _segmentation(
        self, name: str, picture: Image.Image, class_ids: np.ndarray, scores: torch.Tensor | None
    ) -> Segmentation:
        values = None if scores is None else scores.float().cpu().numpy()
        if self.threshold is not None:
            is_background = values < self.threshold
            class_ids = np.where(is_background, self.background_id, class_ids)
            values = np.where(is_background, 1 - values, values)
        return Segmentation(name, picture, self.labels, class_ids, values)


def segment_photos(
    photos: Sequence[Photo], problems: dict[str, str], load: Callable[[], PhotoSegmenter], batch_size: int = 1
) -> Iterator[tuple[Photo, Segmentation]]:
    """Segments any number of photos with the memory of one batch, under a progress bar where there are several.

    Args:
        photos (`Sequence[Photo]`): The photos; each is read when its turn comes.
        problems (`dict[str, str]`): Gets the reason, by name, for each photo that cannot be read.
        load (`Callable[[], PhotoSegmenter]`): Called once, when the first photo was read.
        batch_size (`int`, *optional*, defaults to 1): Photos at a time.

    Returns:
        An iterator over each photo with its segmentation.
    """
    segmenter = None
    # Shown only where somebody looks.
    bar = tqdm(photos, unit="photo", disable=None if len(photos) > 1 else True)
    for batch in _batches(read_photos(bar, problems), batch_size):
        segmenter = load() if segmenter is None else segmenter
        yield from zip([photo for photo, _ in batch], segmenter(batch), strict=True)


def _batches(photos: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def load_segmenter(
    model: str, device: str, dtype: str, labels: Sequence[Label] | None, **options: Any
) -> PhotoSegmenter:
    """Loads a model by its name at the command line.

    Args:
        model (`str`): As [`find_model`] takes it.
        device (`str`): As [`pick_device`] takes it.
        dtype (`str`): `"float32"`, `"bfloat16"` or `"float16"`.
        labels (`Sequence[str | list[str]]`, *optional*): The classes.
        options: The other arguments of [`PhotoSegmenter`].

    Returns:
        `PhotoSegmenter`.

    Raises:
        ValueError: If there is no such model or device.
    """
    target = pick_device(device)
    folder = find_model(model)
    logging.disable_progress_bar()
    processor = CatSegProcessor.from_pretrained(folder)
    network = CatSegForSemanticSegmentation.from_pretrained(folder, dtype=getattr(torch, dtype))
    return PhotoSegmenter(network.to(target).eval(), processor, labels, **options)


__all__ = ["PhotoSegmenter", "load_segmenter", "segment_photos"]
