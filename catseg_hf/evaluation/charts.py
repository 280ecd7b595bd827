# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The pictures of a report: bars and confusions of classes, and the worst images."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from catseg_hf.datasets import Sample, SegmentationDataset
from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.evaluation.results import Evaluation
from catseg_hf.evaluation.segmenter import ProtocolSegmenter
from catseg_hf.pictures import overlay
from catseg_hf.pictures.photos import as_rgb
from catseg_hf.pictures.text import FAINT_INK, INK, best_face, load_letters, shortened


TRACK = "#e4e4e4"
BLUE, ORANGE, GRAY = (0, 114, 178), (213, 94, 0), (140, 140, 140)
FONT_SIZE, ROW_HEIGHT, GAP = 14, 20, 12
# Of an IoU of 100 %, in pixels.
BAR_WIDTH = 200
# The worst images are drawn with their longer side at most so long.
PANEL_SIZE = 640


def percent(value: float | None) -> str:
    """A figure as people read it.

    Args:
        value (`float`, *optional*): A fraction from 0 to 1, or nan.

    Returns:
        `str`: In percent, with two decimals; a dash where there is none.
    """
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f} %"


# ---- bars -----------------------------------------------------------------------------------------------------------


def draw_class_bars(results: dict[str, Any]) -> Image.Image:
    """A bar for the IoU of each class that occurs in the ground truth, the best first, in columns.

    Where seen classes are known, unseen ones are orange.

    Args:
        results (`dict[str, Any]`): [`Evaluation.results`].

    Returns:
        `PIL.Image.Image`: The picture, RGB.

    Example:

    ```python
    >>> from catseg_hf.evaluation import draw_class_bars

    >>> draw_class_bars(evaluation.results).save("class_iou.png")
    ```
    """
    unseen = set() if results["seen_unseen"] is None else set(results["seen_unseen"]["unseen_class_ids"])
    rows = [{**row, "is_unseen": index in unseen} for index, row in enumerate(results["per_class"]) if row["pixels"]]
    rows.sort(key=lambda row: -row["iou"])
    letters = _letters([row["name"] for row in rows])
    name_width = min(max((letters.getlength(row["name"]) for row in rows), default=0), 200)
    column_width = round(name_width + BAR_WIDTH + letters.getlength("100.0")) + 4 * GAP
    per_column, num_columns = _bars_per_column(len(rows), column_width)

    title = f"IoU in percent of the {len(rows)} classes that occur in {results['dataset']['name']}"
    legend = [("seen", BLUE), ("unseen", ORANGE)] if unseen else []
    legend_width = sum(letters.getlength(name) + ROW_HEIGHT + 2 * GAP for name, _ in legend)
    width = max(num_columns * column_width, round(letters.getlength(title) + legend_width) + 3 * GAP)
    picture = Image.new("RGB", (width, per_column * ROW_HEIGHT + 2 * GAP + 2 * ROW_HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, ROW_HEIGHT), title, INK, letters, "lm")
    left = GAP + letters.getlength(title) + 2 * GAP
    for name, color in legend:
        draw.rectangle((left, ROW_HEIGHT - 6, left + 12, ROW_HEIGHT + 6), fill=color)
        draw.text((left + ROW_HEIGHT, ROW_HEIGHT), name, INK, letters, "lm")
        left += letters.getlength(name) + ROW_HEIGHT + 2 * GAP
    for index, row in enumerate(rows):
        column, line = divmod(index, per_column)
        middle = 2 * ROW_HEIGHT + GAP + line * ROW_HEIGHT + ROW_HEIGHT // 2
        _draw_bar(draw, letters, row, column * column_width + GAP, middle, name_width)
    return picture


def _bars_per_column(number: int, column_width: int) -> tuple[int, int]:
    """How many bars stand below each other, and in how many columns: about a third wider than high."""
    per_column = max(25, math.ceil(math.sqrt(number * column_width / ROW_HEIGHT / 1.33)))
    per_column = math.ceil(number / max(1, math.ceil(number / per_column)))
    return per_column, math.ceil(number / max(1, per_column))


def _draw_bar(
    draw: ImageDraw.ImageDraw,
    letters: ImageFont.FreeTypeFont,
    row: dict[str, Any],
    left: int,
    middle: int,
    name_width: float,
) -> None:
    """Name, bar and figure of a class."""
    start = left + name_width + GAP
    draw.text((start - GAP / 2, middle), shortened(row["name"], letters, name_width), INK, letters, "rm")
    draw.rectangle((start, middle - 7, start + BAR_WIDTH, middle + 6), fill=TRACK)
    if row["iou"] > 0:
        end = start + max(1, round(row["iou"] * BAR_WIDTH))
        draw.rectangle((start, middle - 7, end, middle + 6), fill=ORANGE if row["is_unseen"] else BLUE)
    right = start + BAR_WIDTH + GAP / 2 + letters.getlength("100.0")
    draw.text((right, middle), f"{100 * row['iou']:.1f}", FAINT_INK, letters, "rm")


# ---- confusions -----------------------------------------------------------------------------------------------------


def draw_confusions(matrix: ConfusionMatrix, num_classes: int = 20, num_columns: int = 24) -> Image.Image:
    """What the pixels of the worst classes were taken for, in percent.

    Each row is a class of the ground truth and adds up to 100: how many of its pixels were found, which classes took
    most of the others, and the rest.

    Args:
        matrix ([`ConfusionMatrix`]): The counts.
        num_classes (`int`, *optional*, defaults to 20): How many classes of the lowest IoU to show.
        num_columns (`int`, *optional*, defaults to 24): How many classes that they are taken for to show, at most.

    Returns:
        `PIL.Image.Image`: The picture, RGB.

    Example:

    ```python
    >>> from catseg_hf.evaluation import draw_confusions

    >>> draw_confusions(evaluation.matrix).save("confusions.png")
    ```
    """
    names, headings, cells = _confusions(matrix, num_classes, num_columns)
    letters = _letters([*names, *headings])
    title = f"Where the pixels of the {len(names)} worst classes went, in percent"
    name_width = min(max((letters.getlength(name) for name in names), default=0), 220)
    heading_height = round(min(max(letters.getlength(heading) for heading in headings), 220))
    cell_width, cell_height = round(letters.getlength("100")) + GAP, ROW_HEIGHT + 4
    left, top = round(name_width) + 2 * GAP, heading_height + 2 * GAP + ROW_HEIGHT
    width = max(left + len(headings) * cell_width + GAP, round(letters.getlength(title)) + 2 * GAP)
    picture = Image.new("RGB", (width, top + len(names) * cell_height + GAP), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, ROW_HEIGHT // 2 + GAP // 2), title, INK, letters, "lm")
    for column, heading in enumerate(headings):
        strip = Image.new("RGB", (heading_height, cell_height), "white")
        text = shortened(heading, letters, heading_height)
        ImageDraw.Draw(strip).text((0, cell_height // 2), text, INK, letters, "lm")
        picture.paste(
            strip.rotate(90, expand=True),
            (left + column * cell_width + (cell_width - cell_height) // 2, top - heading_height - 4),
        )
    for row, name in enumerate(names):
        y = top + row * cell_height
        text = shortened(name, letters, name_width)
        draw.text((left - GAP / 2, y + cell_height // 2), text, INK, letters, "rm")
        for column, share in enumerate(cells[row].tolist()):
            strong = BLUE if column == 0 else GRAY if column == len(headings) - 1 else ORANGE
            x = left + column * cell_width
            _draw_cell(draw, letters, share, strong, (x, y, x + cell_width, y + cell_height))
    return picture


def _confusions(
    matrix: ConfusionMatrix, num_classes: int, num_columns: int
) -> tuple[list[str], list[str], torch.Tensor]:
    """Names of the worst classes, headings of what they were taken for, and the shares of their pixels, 0 to 1."""
    table = matrix.compute()["per_class"]
    occurring = [index for index, row in enumerate(table) if row["pixels"]]
    # Of equally bad ones those of most pixels.
    worst = sorted(occurring, key=lambda index: (table[index]["iou"], -table[index]["pixels"]))[:num_classes]
    shares = matrix.matrix[worst].double() / matrix.matrix[worst].sum(dim=1, keepdim=True)
    found = shares[torch.arange(len(worst)), worst]
    wrong = shares.clone()
    wrong[torch.arange(len(worst)), worst] = 0
    taken = wrong.sum(dim=0)
    columns = taken.argsort(descending=True, stable=True)[:num_columns]
    columns = columns[taken[columns] > 0].tolist()
    others = wrong.sum(dim=1) - wrong[:, columns].sum(dim=1)
    cells = torch.cat([found[:, None], wrong[:, columns], others[:, None].clamp(min=0)], dim=1)
    headings = ["found", *(table[index]["name"] for index in columns), "other classes"]
    return [table[index]["name"] for index in worst], headings, cells


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    letters: ImageFont.FreeTypeFont,
    share: float,
    strong: tuple[int, int, int],
    box: tuple[int, int, int, int],
) -> None:
    """A share, the more the stronger in colour, in a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    fill = tuple(round(255 + (value - 255) * share**0.7) for value in strong)
    draw.rectangle((left, top, right - 2, bottom - 2), fill=fill if share else "#f6f6f6")
    if share >= 0.005:
        color = "white" if share > 0.55 else INK
        middle = (left + (right - left) // 2 - 1, top + (bottom - top) // 2 - 1)
        draw.text(middle, f"{100 * share:.0f}", color, letters, "mm")


# ---- worst images ---------------------------------------------------------------------------------------------------


def draw_worst_images(
    evaluation: Evaluation, dataset: SegmentationDataset, segmenter: ProtocolSegmenter, number: int
) -> Iterator[tuple[Sample, float, Image.Image]]:
    """The images of the lowest mean IoU, each beside its labels and its prediction.

    Args:
        evaluation ([`Evaluation`]): Has the scores.
        dataset ([`SegmentationDataset`]): Has the images.
        segmenter ([`ProtocolSegmenter`]): Segments them again.
        number (`int`): How many.

    Yields:
        `tuple[Sample, float, PIL.Image.Image]`: Sample, its mean IoU over the classes in its ground truth (0 to 1), and
        the picture, RGB.

    Example:

    ```python
    >>> from catseg_hf.evaluation import Protocol, ProtocolSegmenter, draw_worst_images

    >>> segmenter = ProtocolSegmenter(model, processor, dataset.vocabulary, Protocol("whole"))
    >>> for sample, miou, picture in draw_worst_images(evaluation, dataset, segmenter, number=1):
    ...     picture.save("worst.png")
    ```
    """
    scores = [(score, index) for index, score in evaluation.image_scores.items() if not math.isnan(score)]
    for score, index in sorted(scores)[:number]:
        sample = dataset[index]
        label_map = segmenter([sample.image], [sample.labels.shape])[0]
        prediction = dataset.map_predictions(label_map).cpu().numpy()
        title = f"Prediction, mIoU {percent(score)}"
        yield sample, score, _draw_sample(sample, prediction, dataset.class_names, dataset.ignore_index, title)


def _draw_sample(
    sample: Sample, prediction: np.ndarray, class_names: Sequence[str], ignore_index: int, title: str
) -> Image.Image:
    """Photo, labels and prediction side by side, with colours of their own for the classes of this image."""
    scale = min(1.0, PANEL_SIZE / max(sample.image.size))
    size = tuple(max(1, round(length * scale)) for length in sample.image.size)
    photo = as_rgb(sample.image).resize(size)
    areas = np.bincount(np.concatenate([sample.labels.flatten(), prediction.flatten()]), minlength=len(class_names))
    present = [index for index in np.argsort(-areas[: len(class_names)], kind="stable").tolist() if areas[index]]
    # What is not scored gets the number after the last class.
    place = np.full(max(len(areas), ignore_index + 1), len(present), dtype=np.int32)
    place[present] = np.arange(len(present))
    names = [class_names[index] for index in present]

    panels = [("Photo", photo)]
    for heading, ids in (("Ground truth", sample.labels), (title, prediction)):
        small = np.asarray(Image.fromarray(place[ids]).resize(size, Image.Resampling.NEAREST))
        panels.append((heading, overlay(photo, small, names, background_id=len(present))))
    letters = _letters([sample.name, title])
    column_width = max(*(panel.width for _, panel in panels), round(letters.getlength(title))) + GAP
    heading_height = ROW_HEIGHT + GAP
    height = heading_height + max(panel.height for _, panel in panels) + GAP
    picture = Image.new("RGB", (3 * column_width + GAP, height), "white")
    draw = ImageDraw.Draw(picture)
    for column, (heading, panel) in enumerate(panels):
        left = GAP + column * column_width
        text = shortened(f"{heading}: {sample.name}" if column == 0 else heading, letters, column_width - GAP)
        draw.text((left, heading_height // 2), text, INK, letters, "lm")
        picture.paste(panel, (left, heading_height))
    return picture


def _letters(texts: Sequence[str]) -> ImageFont.FreeTypeFont:
    return load_letters(best_face("".join(texts)), FONT_SIZE)


__all__ = ["draw_class_bars", "draw_confusions", "draw_worst_images", "percent"]
