# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model with labels and a threshold: photos in, segmentations out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from catseg_hf.image_processing_catseg import Views
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegSemanticSegmenterOutput
from catseg_hf.others_catseg import own_labels, resolve_others, segment_with_others, tell_of_others, with_others
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label, Labels, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text

from .background import in_order
from .batches import HasName, Named, PreparedPhotos, segment_pictures
from .loading import embed_labels, load_model
from .photo_reading import Picture, is_one_photo, name_and_picture
from .segmentation import NO_CLASS, Segmentation, label_name


class Segmenter:
    """Segments photos into classes that are named in one's own words.

    Several threads can use one, as a pipeline: nothing in it changes.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on its device.
        processor ([`CatSegProcessor`]): Its processor.
        labels (`str` or `Iterable[str | Iterable[str]]`, *optional*):
            The classes, as [`parse_labels`] takes them: `["cat", ["grass", "lawn"]]` or `"cat, grass"`. By default the
            model's own vocabulary.
        others (`str`, `os.PathLike` or `Iterable[str | Iterable[str]]`, *optional*):
            Classes that compete and are not reported: `"own"`, the model's own; the name of a shipped vocabulary; a
            file; or a list. What goes to one of them gets no class. See [`resolve_others`].
        threshold (`float`, *optional*): Least score, from 0 to 1, that the best class of a pixel needs.
        background (`str`, *optional*):
            A class for the pixels below the threshold, and for those of others: one of the labels, or one more. Of a
            pixel below the threshold, one minus the best class's score counts. Without it they have no class.
        views (`"one"` or `"sliding"`, *optional*):
            The whole photo as one view, several times as fast, or the windows of the paper. By default what the
            processor says, which is windows for the released models.
        need_scores (`bool`, *optional*, defaults to `True`): Whether scores are wanted, which take some time.
        embed (`Callable[[list[str | list[str]] | None], torch.Tensor]`, *optional*):
            Makes text embeddings of labels, or, for `None`, of the model's own; by default the model does.

    Attributes:
        labels (`list[str | list[str]]`): The classes in class-id order, with the background where that is one more.
        others (`list[str | list[str]]`): The classes that compete and are not reported.
        left_out (`dict[str, str]`): Others that do not compete, and the label of each that means the same.

    Raises:
        ValueError: If a label cannot be used, there are none, or `background` is given without `threshold` or `others`.

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
        others: Labels | PathLike[str] | None = None,
        threshold: float | None = None,
        background: str | None = None,
        views: Views | None = None,
        need_scores: bool = True,
        embed: Callable[[list[Label] | None], torch.Tensor] | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, got {threshold}.")
        if labels is None and model.config.vocabulary_digest is None:
            raise ValueError("The model has no vocabulary of its own: give labels.")
        self.model, self.processor = model, processor.with_views(views)
        self.options = {"others": others, "threshold": threshold, "background": background, "need_scores": need_scores}
        self.threshold, self.need_scores = threshold, need_scores or threshold is not None
        embed = partial(embed_labels, model, processor) if embed is None else embed
        names = own_labels(model.config) if labels is None else parse_labels(labels, "labels")
        found = resolve_others(others, model.config)
        if background is not None and (not background.strip() or (threshold is None and not found.labels)):
            raise ValueError(
                f"`background={background!r}` names the pixels whose best score is below `threshold`, and those of "
                "`others`: give one of these too."
            )
        own_embeds = embed(None if labels is None else names)
        classes = with_others(names, own_embeds, found, embed(found.labels) if found.labels else None)
        self.classes = classes
        self.text_embeds, self.num_labels = classes.text_embeds, classes.num_labels
        self.others, self.left_out = classes.others, classes.left_out
        self.labels: list[Label] = names if labels is not None else list(model.config.id2label.values())
        self.background_id = NO_CLASS
        if background is not None:
            shown = [label_name(label) for label in self.labels]
            background = clean_text(background)
            if background not in shown:
                self.labels = [*self.labels, background]
            self.background_id = [*shown, background].index(background)

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
            options: `others`, `threshold`, `background`, `views` and `need_scores`.

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
            options: `others`, `threshold`, `background`, `views` and `need_scores`, where they are to be different.

        Returns:
            [`Segmenter`]

        Raises:
            ValueError: If the labels cannot be used.
        """
        return type(self)(self.model, self.processor, labels, **{**self.options, **options})

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
        self.tell()
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"`batch_size={batch_size}` must be at least 1, and `num_workers={num_workers}` 0.")
        if is_one_photo(images):
            name, picture = name_and_picture(images)
            return self.finish(self.prepare([(Named(name), picture)]))[0]
        if not isinstance(images, Iterable):
            raise TypeError(f"`images` must be a path, a URL, a picture, or several, got {type(images).__name__}.")
        return self._stream(images, batch_size, num_workers)

    def tell(self) -> None:
        """Logs, once, which others were left out, and that a single label without others gets every pixel."""
        tell_of_others(self.classes, self.threshold)

    def _stream(self, images: Iterable[Picture], batch_size: int, num_workers: int) -> Iterator[Segmentation]:
        read = in_order(lambda item: name_and_picture(item[1], item[0]), enumerate(images), num_workers)
        pictures = ((Named(name), picture) for name, picture in read)
        for _, result in segment_pictures(self, pictures, batch_size, num_workers):
            yield result

    def prepare(self, photos: Sequence[tuple[HasName, Image.Image]]) -> PreparedPhotos:
        """Makes the model's inputs of `photos` with their pictures, RGB, on its device."""
        pictures = [picture for _, picture in photos]
        return PreparedPhotos(photos, self.processor(images=pictures, device=self.model.device))

    def finish(self, prepared: PreparedPhotos) -> list[Segmentation]:
        """Segments `prepared` photos together; see `decide` and `segmentations`."""
        return self.segmentations(prepared, self.decide(prepared))

    @torch.inference_mode()
    def decide(
        self, prepared: PreparedPhotos, outputs: CatSegSemanticSegmenterOutput | None = None
    ) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """The best class of each pixel of `prepared` photos and, where they are wanted, its score.

        Of shape `(height, width)`, on the model's device, which can still be at work on it. `outputs` is what the model
        made of the photos, where that is known.
        """
        if outputs is None:
            outputs = self.run(prepared)
        sizes = [(picture.height, picture.width) for _, picture in prepared.photos]
        if self.need_scores:
            return self.processor.post_process_best_classes(outputs, sizes, num_labels=self.num_labels)
        label_maps = self.processor.post_process_semantic_segmentation(
            outputs, target_sizes=sizes, background_id=NO_CLASS, num_labels=self.num_labels
        )
        return [(label_map, None) for label_map in label_maps]

    def run(self, prepared: PreparedPhotos, *, keep_rows: bool = False) -> CatSegSemanticSegmenterOutput:
        """What the model makes of photos; `keep_rows` as [`segment_with_others`] takes it."""
        return segment_with_others(
            self.model, self.text_embeds, self.num_labels, keep_rows=keep_rows, **prepared.inputs
        )

    def segmentations(
        self, prepared: PreparedPhotos, decided: Sequence[tuple[torch.Tensor, torch.Tensor | None]]
    ) -> list[Segmentation]:
        """What was `decided` of `prepared` photos, brought from the model's device: waits until it is done with it."""
        return [
            self.segmentation(photo.name, picture, class_ids.cpu().numpy(), scores)
            for (photo, picture), (class_ids, scores) in zip(prepared.photos, decided, strict=True)
        ]

    def segmentation(
        self, name: str, picture: Image.Image, class_ids: np.ndarray, scores: torch.Tensor | None
    ) -> Segmentation:
        """The segmentation of a photo, `picture`, that came from `name`, with its threshold and its background.

        `class_ids` are of the best class of each pixel, -1 for those of others, and `scores` how sure that is.
        """
        values = None if scores is None else scores.float().cpu().numpy()
        ids, values = self.with_background(class_ids, values)
        return Segmentation(name, picture, self.labels, ids, values, self.others, self.left_out)

    def with_background(self, class_ids: np.ndarray, scores: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Gives pixels of others (-1 in `class_ids`) and those with `scores` below the threshold to the background."""
        if self.others and self.background_id != NO_CLASS:
            class_ids = np.where(class_ids == NO_CLASS, self.background_id, class_ids)
        if self.threshold is None:
            return class_ids, scores
        is_unsure = scores < self.threshold
        return np.where(is_unsure, self.background_id, class_ids), np.where(is_unsure, 1 - scores, scores)
