# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the web page shows of a photo and a line of labels; nothing of Gradio."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch
from PIL import Image

from catseg_hf.formats import AnnotationFormat
from catseg_hf.image_processing_catseg import Views
from catseg_hf.pictures import heat_map, overlay
from catseg_hf.pictures.text import MIN_WIDTH
from catseg_hf.prompts_catseg import Label, parse_labels
from catseg_hf.segmenting import NO_CLASS, Segmentation, Segmenter, load_model
from catseg_hf.segmenting.batches import Named
from catseg_hf.segmenting.photo_reading import read_photo


# Names in one request, synonyms counted, and letters of all of them.
MAX_NAMES, MAX_LETTERS = 64, 8000
# Longer side, in pixels, of the pictures on the page, and of the score maps that wait for a click.
SHOWN_SIZE, SCORES_SIZE = 1024, 256


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """What toggles, threshold and clicks are answered from, without the network.

    Args:
        segmentation ([`Segmentation`]): Of the photo at the size that the page shows.
        class_scores (`np.ndarray` of shape `(T, height, width)`): Smaller score maps of all classes, float16.
        limits (`tuple[float, float]`, *optional*): What [`heat_map`] takes for them.
        size (`tuple[int, int]`): Height and width of the photo itself.
    """

    segmentation: Segmentation
    class_scores: np.ndarray
    limits: tuple[float, float] | None
    size: tuple[int, int]

    def draw(self, visible: Sequence[int], threshold: float) -> Image.Image:
        """The overlay of some of the classes.

        Args:
            visible (`Sequence[int]`): Ids of the classes to colour.
            threshold (`float`): Least score of a coloured pixel.

        Returns:
            `PIL.Image.Image`: The picture, with a legend.
        """
        found, ids = self.segmentation, self.shown_ids(visible, threshold)
        return overlay(found.picture, ids, found.labels, background_id=NO_CLASS)

    def shown_ids(self, visible: Sequence[int], threshold: float) -> np.ndarray:
        """Class of each pixel, where it is coloured.

        Args:
            visible (`Sequence[int]`): Ids of the classes to colour.
            threshold (`float`): Least score of a coloured pixel.

        Returns:
            `np.ndarray` of shape `(height, width)`: At the size that the page shows; -1 for none.
        """
        found = self.segmentation
        is_visible = np.isin(found.class_ids, visible) & (found.scores >= threshold)
        return np.where(is_visible, found.class_ids, NO_CLASS)

    def annotations(self, format: AnnotationFormat, visible: Sequence[int], threshold: float) -> tuple[str, bytes]:
        """The file that a visitor downloads: annotations of what is coloured, in pixels of the photo.

        Args:
            format ([`AnnotationFormat`]): Its format.
            visible (`Sequence[int]`): Ids of the classes to colour.
            threshold (`float`): Least score of a coloured pixel.

        Returns:
            `tuple[str, bytes]`: Name and content; a ZIP where the format has several files.

        Raises:
            ImportError: If libraries are missing; says how to install them.
        """
        from catseg_hf.formats.shapes import annotate

        shown = self.segmentation
        ids = self.shown_ids(visible, threshold)
        photo = annotate(shown.name, ids, shown.names, shown.scores, size=self.size)
        files = format.files(photo, shown.name)
        if len(files) == 1:
            ((path, text),) = files.items()
            return path.name, text.encode()
        buffer = BytesIO()
        with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
            for path, text in files.items():
                archive.writestr(path.as_posix(), text)
        return f"{Path(format.default_output).stem}.zip", buffer.getvalue()

    def draw_scores(self, class_id: int) -> Image.Image:
        """The heat map of a class.

        Args:
            class_id (`int`): Which one.

        Returns:
            `PIL.Image.Image`: The picture, with a colour scale.
        """
        scores = self.class_scores[class_id].astype(np.float32)
        return heat_map(self.segmentation.picture, scores, self.segmentation.labels[class_id], self.limits)

    def class_at(self, column: int, row: int) -> int | None:
        """The class at a place of the overlay.

        Args:
            column, row (`int`): In pixels of the picture that [`draw`] returns.

        Returns:
            `int`, *optional*: `None` beside the photo, as on the legend, and where others are.
        """
        height, width = self.segmentation.class_ids.shape
        column -= (max(width, MIN_WIDTH) - width) // 2
        if not (0 <= column < width and 0 <= row < height):
            return None
        class_id = int(self.segmentation.class_ids[row, column])
        return None if class_id == NO_CLASS else class_id

    def choices(self) -> tuple[list[tuple[str, int]], list[int]]:
        """What the toggles offer.

        Returns:
            `tuple[list[tuple[str, int]], list[int]]`: Texts and ids of all labels, and the ids of those in the photo;
            the largest first, as in the legend.
        """
        segments = sorted(self.segmentation.segments(), key=lambda segment: -segment["area"])
        found = [segment["id"] for segment in segments]
        choices = [(f"{segment['label']} · {segment['score']:.2f}", segment["id"]) for segment in segments]
        names = self.segmentation.names
        choices += [(f"{label} · nowhere", index) for index, label in enumerate(names) if index not in found]
        return choices, found


class PageModel:
    """A model as the page uses it: a photo and a line of labels at a time.

    Args:
        name (`str`): As [`find_model`] takes it.
        views (`"one"` or `"sliding"`, *optional*): As [`Segmenter`] takes it.

    Raises:
        ValueError: If there is no such model.
    """

    def __init__(self, name: str, views: Views | None = None) -> None:
        self.network, processor = load_model(name, "auto", "auto")
        self.processor = processor.with_views(views)
        self.device = self.network.device

    @torch.inference_mode()
    def segment(self, path: str | None, labels: Sequence[Label], others: str | None = None) -> SegmentedPhoto:
        """Segments a photo.

        Args:
            path (`str`, *optional*): Of its file.
            labels (`Sequence[str | list[str]]`): The classes.
            others (`str`, *optional*): As [`Segmenter`] takes it.

        Returns:
            [`SegmentedPhoto`]

        Raises:
            ValueError: If there is no photo, it cannot be read, or a label is too long.
        """
        if path is None:
            raise ValueError("There is no photo: choose one.")
        try:
            photo = read_photo(path)
        except Exception as error:  # decoders raise errors of all kinds on damaged files
            raise ValueError(f"The photo cannot be read as a picture: {error or type(error).__name__}") from error
        segmenter = Segmenter(self.network, self.processor, labels, others=others)
        prepared = segmenter.prepare([(Named(path), photo)])
        outputs = segmenter.run(prepared)

        picture = photo.resize(_fitted(photo.size, SHOWN_SIZE), Image.Resampling.LANCZOS)
        class_ids, scores = self.processor.post_process_best_classes(
            outputs, [(picture.height, picture.width)], num_labels=segmenter.num_labels
        )[0]
        width, height = _fitted(photo.size, SCORES_SIZE)
        class_scores = self.processor.post_process_class_scores(
            outputs, [(height, width)], class_ids=range(segmenter.num_labels)
        )[0]
        ids = class_ids.cpu().numpy().astype(np.int16)
        shown = segmenter.segmentation(Path(path).name, picture, ids, scores)
        # The raw scores of MMSegmentation's models have no limits.
        limits = None if self.processor.image_processor.score_function == "softmax" else (0.0, 1.0)
        return SegmentedPhoto(shown, class_scores.half().cpu().numpy(), limits, (photo.height, photo.width))


def read_labels(text: str) -> list[Label]:
    """The labels that a visitor typed.

    Args:
        text (`str`): As [`parse_labels`] takes them.

    Returns:
        `list[str | list[str]]`

    Raises:
        ValueError: If there are none or too many, or some are empty or the same.
    """
    number = len(re.split("[,;]", text))
    if number > MAX_NAMES:
        raise ValueError(f"There are {number} names, and this page takes at most {MAX_NAMES}: leave some out.")
    if len(text) > MAX_LETTERS:
        raise ValueError(
            f"The labels have {len(text)} letters, and this page takes at most {MAX_LETTERS}: shorten them."
        )
    return parse_labels(text, "labels")


def unknown_words_notice(words: Sequence[str]) -> str:
    """What the page says of words that a model does not know.

    Args:
        words (`Sequence[str]`): The words.

    Returns:
        `str`: HTML.
    """
    listed = ", ".join(f"“{html.escape(word)}”" for word in words)
    return (
        f'<div class="unknown-words" role="alert">The model does not know {listed}, and cannot find it. '
        "Try other words.</div>"
    )


def _fitted(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


__all__ = ["MAX_LETTERS", "PageModel", "SegmentedPhoto", "read_labels", "unknown_words_notice"]
