# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Segments an image window by window and gives the result strip by strip, as soon as no later window touches it."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.others_catseg import segment_with_others

from .sources import ImageSource
from .windows import WindowAxis, model_side


# Scores that wait for the windows below take more memory than this only in a temporary file.
CARRIED_BYTES = 2**29
# Class of pixels without data.
NO_DATA = -1


class Strip(NamedTuple):
    """Finished rows of a segmentation."""

    top: int  # number of the first row
    class_ids: np.ndarray  # int32 of shape (rows, width); -1 where the image has no data
    scores: np.ndarray  # float32 of the same shape, from 0 to 1


class LargeImageSegmenter:
    """Segments images of any size at their own resolution.

    Each window is segmented as a photo of its size, by the processor's own protocol with views and their merge. The
    class scores of windows are blended where they overlap, and each pixel gets its best class. An image that is one
    window gets what an ordinary photo gets.

    Memory does not grow with the height of the image: it takes the scores of two windows, and of the rows in which
    windows overlap, classes x overlap x width x 4 bytes, which are kept in a temporary file beyond 512 MB.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on its device.
        processor ([`CatSegProcessor`]): Its processor.
        text_embeds (`torch.FloatTensor`, *optional*):
            Embeddings of the classes, of `model.get_text_embeds`; by default the model's own vocabulary.
        tile (`int`, *optional*):
            Side of the windows, in pixels of the image. By default what the model sees pixel by pixel: 640 for the
            released models. Larger windows show it the image reduced.
        scale (`float`, *optional*): Instead of `tile`: 0.5 shows the model the image at half its size, 2 at twice.
        overlap (`float`, *optional*, defaults to 0.25): Share of a window that overlaps the next, from 0 to 0.9.
        batch_size (`int`, *optional*, defaults to 1): Windows at a time.
        num_labels (`int`, *optional*):
            How many rows of `text_embeds` are labels; the further ones are others, see [`segment_with_others`]. By
            default all.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Example:

    ```python
    >>> from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
    >>> from catseg_hf.large_images import LargeImageSegmenter, PictureSource
    >>> from catseg_hf.scenes import draw_scene

    >>> processor = CatSegProcessor.from_pretrained(TINY)
    >>> model = CatSegForSemanticSegmentation.from_pretrained(TINY).eval()
    >>> text_embeds = model.get_text_embeds(**processor(text=["something red", "ground"]))
    >>> segmenter = LargeImageSegmenter(model, processor, text_embeds, scale=0.5)
    >>> for strip in segmenter.strips(PictureSource(draw_scene(7, size=600).image)):
    ...     print(strip.top, strip.class_ids.shape)
    0 (216, 600)
    216 (384, 600)
    ```
    """

    def __init__(
        self,
        model: CatSegForSemanticSegmentation,
        processor: Any,
        text_embeds: torch.Tensor | None = None,
        tile: int | None = None,
        scale: float | None = None,
        overlap: float = 0.25,
        batch_size: int = 1,
        num_labels: int | None = None,
    ) -> None:
        if tile is not None and scale is not None:
            raise ValueError(f"`tile={tile}` and `scale={scale}` say the same in two ways: give one of them.")
        if scale is not None and not 0.01 <= scale <= 100:
            raise ValueError(f"`scale` must be from 0.01 to 100, got {scale}.")
        if tile is not None and tile < 16:
            raise ValueError(f"`tile` must be at least 16 pixels, got {tile}.")
        if not 0 <= overlap <= 0.9:
            raise ValueError(f"`overlap` must be from 0 to 0.9, got {overlap}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        if text_embeds is None and model.config.vocabulary_digest is None:
            raise ValueError("The model has no vocabulary of its own: give `text_embeds`.")
        self.model, self.processor, self.text_embeds = model, processor, text_embeds
        self.num_classes = len(model.config.id2label) if text_embeds is None else len(text_embeds)
        self.num_labels = self.num_classes if num_labels is None else num_labels
        self.side = tile or max(16, round(model_side(processor.image_processor) / (scale or 1)))
        self.overlap, self.batch_size = overlap, batch_size

    @torch.inference_mode()
    def strips(self, source: ImageSource) -> Iterator[Strip]:
        """Segments an image from top to bottom.

        Args:
            source ([`ImageSource`]): The image.

        Returns:
            An iterator over [`Strip`], which together are the whole image. A progress bar shows where somebody looks.
        """
        rows = WindowAxis(source.height, self.side, self.overlap)
        columns = WindowAxis(source.width, self.side, self.overlap)
        number, carried_rows = len(rows) * len(columns), 0
        with (
            _carried_scores(self.num_classes, rows.most_carried, source.width) as carried,
            tqdm(total=number, unit="window", disable=None if number > 1 else True) as bar,
        ):
            for top, end, weights in zip(rows.starts, rows.ends, rows.weights, strict=True):
                shape = end - top, source.width
                strip = Strip(top, np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32))
                self._fill(strip, source, columns, weights, carried, carried_rows, bar)
                carried_rows = top + rows.side - end
                yield strip

    def _fill(
        self,
        strip: Strip,
        source: ImageSource,
        columns: WindowAxis,
        row_weights: torch.Tensor,
        carried: torch.Tensor,
        carried_rows: int,
        bar: tqdm,
    ) -> None:
        """Segments a row of windows, from left to right, which count as `row_weights` say from top to bottom.

        `carried`, of shape (T, rows, width), has the weighted scores that earlier rows of windows left for the first
        `carried_rows` rows of the strip; it becomes those that this row of windows leaves.
        """
        num_final = len(strip.class_ids)
        from_left = torch.zeros(self.num_classes, len(row_weights), 0)
        windows = self._scored_windows(source, strip.top, len(row_weights), columns)
        for (left, end, scores, has_data), weights in zip(windows, columns.weights, strict=True):
            if scores is None:
                scores = torch.zeros(self.num_classes, len(row_weights), columns.side)
            scores *= row_weights[:, None]
            scores *= weights
            scores[:, :, : from_left.shape[2]] += from_left
            # What later windows of this row add to waits on the right, what those below add to waits in `carried`.
            from_left = scores[:, :, end - left :].clone()
            done, here = scores[:, :, : end - left], carried[:, :, left:end]
            done[:, :carried_rows] += here[:, :carried_rows]
            here[:, : len(row_weights) - num_final] = done[:, num_final:]
            best, class_ids = done[:, :num_final].max(dim=0)  # of equal scores the first class
            if self.processor.image_processor.score_function == "softmax":
                best = (done[:, :num_final] - best).exp_().sum(dim=0).reciprocal_()
            strip.class_ids[:, left:end], strip.scores[:, left:end] = class_ids.numpy(), best.numpy()
            if has_data is not None:
                strip.class_ids[:, left:end][~has_data[:num_final, : end - left]] = NO_DATA
            bar.update()

    def _scored_windows(
        self, source: ImageSource, top: int, height: int, columns: WindowAxis
    ) -> Iterator[tuple[int, int, torch.Tensor | None, np.ndarray | None]]:
        """Of each window left, the first column that a later one touches, class scores, and which pixels hold data.

        There are no scores where no pixel does.
        """
        places = list(zip(columns.starts, columns.ends, strict=True))
        for first in range(0, len(places), self.batch_size):
            batch = places[first : first + self.batch_size]
            read = [source.read(top, left, height, columns.side) for left, _ in batch]
            pictures = [pixels for pixels, has_data in read if has_data is None or has_data.any()]
            scores = iter(self._class_scores(pictures) if pictures else [])
            for (left, end), (_, has_data) in zip(batch, read, strict=True):
                if has_data is None or has_data.any():
                    yield left, end, next(scores), has_data
                else:
                    yield left, end, None, has_data

    def _class_scores(self, pictures: list[np.ndarray]) -> list[torch.Tensor]:
        """Class scores of windows, each as a photo of its own: on the CPU, of shape (T, height, width)."""
        inputs = self.processor(images=[Image.fromarray(picture) for picture in pictures], device=self.model.device)
        if self.num_labels == self.num_classes:
            outputs = self.model(**inputs, text_embeds=self.text_embeds)
        else:  # whose logits stand for the same classes in all windows
            outputs = segment_with_others(self.model, self.text_embeds, self.num_labels, keep_rows=True, **inputs)
        sizes = [picture.shape[:2] for picture in pictures]
        return [scores.cpu() for scores in self.processor.post_process_class_scores(outputs, sizes)]


@contextmanager
def _carried_scores(*shape: int) -> Iterator[torch.Tensor]:
    """Zeros, in memory or, if they are many, in a temporary file."""
    if 4 * math.prod(shape) <= CARRIED_BYTES:
        yield torch.zeros(shape)
        return
    with tempfile.TemporaryFile(prefix="catseg-scores-") as file:
        yield torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
