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
    """What toggles, threshold and clicks are answered from, without the network."""

    segmentation: Segmentation  # of the photo at the size that the page shows
    class_scores: np.ndarray  # (T, height, width): smaller score maps of all classes, float16
    limits: tuple[float, float] | None  # what `heat_map` takes for them
    size: tuple[int, int]  # height and width of the photo itself

    def draw(self, visible: Sequence[int], threshold: float) -> Image.Image:
        """The overlay of some classes, with a legend: where they score at least so much."""
        found, ids = self.segmentation, self.shown_ids(visible, threshold)
        return overlay(found.picture, ids, found.labels, background_id=NO_CLASS)

    def shown_ids(self, visible: Sequence[int], threshold: float) -> np.ndarray:
        """Class of each pixel of the shown size, -1 where it is not coloured."""
        found = self.segmentation
        is_visible = np.isin(found.class_ids, visible) & (found.scores >= threshold)
        return np.where(is_visible, found.class_ids, NO_CLASS)

    def annotations(self, format: AnnotationFormat, visible: Sequence[int], threshold: float) -> tuple[str, bytes]:
        """The file that a visitor downloads: annotations of what is coloured, in pixels of the photo.

        It is a ZIP where the format has several files. An `ImportError` says which libraries are missing.
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
        """The heat map of a class, with a colour scale."""
        scores = self.class_scores[class_id].astype(np.float32)
        return heat_map(self.segmentation.picture, scores, self.segmentation.labels[class_id], self.limits)

    def class_at(self, column: int, row: int) -> int | None:
        """The class at a place of the overlay; `None` beside the photo, as on the legend, and where others are."""
        height, width = self.segmentation.class_ids.shape
        column -= (max(width, MIN_WIDTH) - width) // 2
        if not (0 <= column < width and 0 <= row < height):
            return None
        class_id = int(self.segmentation.class_ids[row, column])
        return None if class_id == NO_CLASS else class_id

    def choices(self) -> tuple[list[tuple[str, int]], list[int]]:
        """Texts and ids of all labels for the toggles, the largest first, and the ids of those in the photo."""
        segments = sorted(self.segmentation.segments(), key=lambda segment: -segment["area"])
        found = [segment["id"] for segment in segments]
        choices = [(f"{segment['label']} · {segment['score']:.2f}", segment["id"]) for segment in segments]
        names = self.segmentation.names
        choices += [(f"{label} · nowhere", index) for index, label in enumerate(names) if index not in found]
        return choices, found


class PageModel:
    """A model as the page uses it: a photo and a line of labels at a time."""

    def __init__(self, name: str, views: Views | None = None) -> None:
        self.network, processor = load_model(name, "auto", "auto")
        self.processor = processor.with_views(views)

    @torch.inference_mode()
    def segment(self, path: str | None, labels: Sequence[Label], others: str | None = None) -> SegmentedPhoto:
        """Segments the photo in a file; `ValueError` if there is none, or it or a label cannot be used."""
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
    """The labels that a visitor typed, if they are not too many."""
    number = len(re.split("[,;]", text))
    if number > MAX_NAMES:
        raise ValueError(f"There are {number} names, and this page takes at most {MAX_NAMES}: leave some out.")
    if len(text) > MAX_LETTERS:
        raise ValueError(
            f"The labels have {len(text)} letters, and this page takes at most {MAX_LETTERS}: shorten them."
        )
    return parse_labels(text, "labels")


def unknown_words_notice(words: Sequence[str]) -> str:
    """What the page says, in HTML, of words that a model does not know."""
    listed = ", ".join(f"“{html.escape(word)}”" for word in words)
    return (
        f'<div class="unknown-words" role="alert">The model does not know {listed}, and cannot find it. '
        "Try other words.</div>"
    )


def _fitted(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
