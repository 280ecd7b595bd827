# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model with labels and a threshold: photos in, segmentations out."""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegSemanticSegmenterOutput
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label, Labels, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text

from .background import in_order
from .batches import HasName, Named, PreparedPhotos, segment_pictures
from .loading import embed_labels, load_model
from .photo_reading import name_and_picture
from .segmentation import NO_CLASS, Segmentation, label_name


Picture = str | PathLike[str] | Image.Image | np.ndarray | torch.Tensor


class Segmenter:
    """Segments photos into classes that are named in one's own words.

    Several threads can use one, as a pipeline: nothing in it changes.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on its device.
        processor ([`CatSegProcessor`]): Its processor.
        labels (`str` or `Iterable[str | Iterable[str]]`, *optional*):
            The classes, as [`parse_labels`] takes them: `["cat", ["grass", "lawn"]]` or `"cat, grass"`. By default the
            model's own vocabulary.
        threshold (`float`, *optional*): Least score, from 0 to 1, that the best class of a pixel needs.
        background (`str`, *optional*):
            A class for the pixels below the threshold: one of the labels, or one more. Of such a pixel, one minus the
            best class's score counts. Without it they have no class.
        need_scores (`bool`, *optional*, defaults to `True`): Whether scores are wanted, which take some time.
        text_embeds (`torch.Tensor` of shape `(T, P, D)` or `(T, P, S, D)`, *optional*):
            Text embeddings of the labels, where they are known already.

    Raises:
        ValueError: If a label cannot be used, there are none, or `background` is given without `threshold`.

    Example:

    ```python
    >>> from catseg_hf import TINY, Segmenter
    >>> from catseg_hf.scenes import draw_scene

    >>> segmenter = Segmenter.from_pretrained(TINY, labels=["something red", "ground"], device="cpu")
    >>> result = segmenter(draw_scene(7).image)
    >>> [segment["label"] for segment in result.segments()]
    ['something red', 'ground']
    ```
    """

    def __init__(
        self,
        model: CatSegForSemanticSegmentation,
        processor: CatSegProcessor,
        labels: Labels | None = None,
        *,
        threshold: float | None = None,
        background: str | None = None,
        need_scores: bool = True,
        text_embeds: torch.Tensor | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
        if background is not None and (threshold is None or not background.strip()):
            raise ValueError(f"`background={background!r}` names the pixels whose best score is below `threshold`.")
        self.model, self.processor = model, processor
        self.threshold, self.background = threshold, background
        self.need_scores = need_scores or threshold is not None
        if labels is not None:
            labels = parse_labels(labels, "labels")
            text_embeds = embed_labels(model, processor, labels) if text_embeds is None else text_embeds
        elif model.config.vocabulary_digest is None:
            raise ValueError("The model has no vocabulary of its own: give labels.")
        else:
            labels = list(model.config.id2label.values())
        self.text_embeds = text_embeds
        self.labels: list[Label] = list(labels)
        background = background if background is None else clean_text(background)
        names = [label_name(label) for label in labels]
        if background is not None and background not in names:
            self.labels.append(background)
            names.append(background)
        self.background_id = NO_CLASS if background is None else names.index(background)

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str],
        labels: Labels | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        compiles: bool = False,
        **options: Any,
    ) -> "Segmenter":
        """Loads a model with its processor.

        Args:
            name (`str` or `os.PathLike`): A folder, `owner/name` on the Hub, a published checkpoint (`"base"`), or
                `"tiny"`.
            labels (`str` or `Iterable[str | Iterable[str]]`, *optional*): The classes.
            device (`str`, *optional*, defaults to `"auto"`): An accelerator if there is one; or such as `"cpu"`.
            dtype (`str`, *optional*, defaults to `"auto"`): bfloat16 on a GPU that has it, otherwise float32; or
                `"float32"`, `"bfloat16"`, `"float16"`.
            compiles (`bool`, *optional*, defaults to `False`): Whether to compile the model, which takes minutes.
            options: `threshold`, `background` and `need_scores`.

        Returns:
            [`Segmenter`]

        Raises:
            ValueError: If there is no such model or device, or the labels cannot be used.
            OSError: If a file of it is missing.
        """
        return cls(*load_model(str(name), device, dtype, compiles=compiles), labels, **options)

    def with_labels(self, labels: Labels | None = None, **options: Any) -> "Segmenter":
        """The same model with other labels: nothing is copied.

        Args:
            labels (`str` or `Iterable[str | Iterable[str]]`, *optional*): The classes; the model's own by default.
            options: `threshold`, `background` and `need_scores`, where they are to be others.

        Returns:
            [`Segmenter`]

        Raises:
            ValueError: If the labels cannot be used.
        """
        kept = {"threshold": self.threshold, "background": self.background, "need_scores": self.need_scores}
        return type(self)(self.model, self.processor, labels, **{**kept, **options})

    @overload
    def __call__(self, images: Picture, batch_size: int = ..., num_workers: int = ...) -> Segmentation: ...

    @overload
    def __call__(
        self, images: Iterable[Picture], batch_size: int = ..., num_workers: int = ...
    ) -> Iterator[Segmentation]: ...

    def __call__(
        self, images: Picture | Iterable[Picture], batch_size: int = 1, num_workers: int = 2
    ) -> Segmentation | Iterator[Segmentation]:
        """Segments a photo, or any number of them with the memory of a few batches.

        Args:
            images (`str`, `os.PathLike`, `PIL.Image.Image`, `np.ndarray`, `torch.Tensor` or an iterable of these):
                Paths, `http(s)` URLs or pictures. An array or tensor of four dimensions is a batch.
            batch_size (`int`, *optional*, defaults to 1): Photos that go through the model together.
            num_workers (`int`, *optional*, defaults to 2): Threads that read photos beside the computing.

        Returns:
            [`Segmentation`], or, of an iterable, an iterator over one for each photo.

        Raises:
            OSError: If a photo cannot be read; names it.
            ValueError: If an argument has a value that is not allowed.
            TypeError: If `images` is something else.
        """
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"`batch_size={batch_size}` must be at least 1, and `num_workers={num_workers}` 0.")
        if _is_one(images):
            name, picture = name_and_picture(images)
            return self.finish(self.prepare([(Named(name), picture)]))[0]
        if not isinstance(images, Iterable):
            raise TypeError(f"`images` must be a path, a URL, a picture, or several, got {type(images).__name__}.")
        return self._stream(images, batch_size, num_workers)

    def _stream(self, images: Iterable[Picture], batch_size: int, num_workers: int) -> Iterator[Segmentation]:
        read = in_order(lambda item: name_and_picture(item[1], item[0]), enumerate(images), num_workers)
        pictures = ((Named(name), picture) for name, picture in read)
        for _, result in segment_pictures(self, pictures, batch_size, num_workers):
            yield result

    def prepare(self, photos: Sequence[tuple[HasName, Image.Image]]) -> PreparedPhotos:
        """Makes the model's inputs, on its device.

        Args:
            photos (`Sequence[tuple[HasName, PIL.Image.Image]]`): Photos with their pictures, RGB.

        Returns:
            [`PreparedPhotos`]
        """
        pictures = [picture for _, picture in photos]
        return PreparedPhotos(photos, self.processor(images=pictures, device=self.model.device))

    def finish(self, prepared: PreparedPhotos) -> list[Segmentation]:
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


def _is_one(images: Any) -> bool:
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim < 4
    return isinstance(images, str | PathLike | Image.Image)


__all__ = ["Segmenter"]
